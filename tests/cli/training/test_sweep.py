"""`train --grid`: one run for each combination, one table, and nothing trained twice."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.training import write_recipe
from worldtune.adapters.card import read_card
from worldtune.evaluation.report.plots import write_loss_plot
from worldtune.training.checkpoint import checkpoints
from worldtune.training.run_folder import RunFolder

from ..in_process import Verb, fault, in_process

__all__ = ["in_process"]

RANKS_AND_METHODS = ("--grid", "adapter.rank=2,4", "adapter.method=lora,dora")
LABELS = ["rank2-methodlora", "rank2-methoddora", "rank4-methodlora", "rank4-methoddora"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latent store is under the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def recipe(tiny_world: Path, tmp_path: Path) -> Path:
    return write_recipe(tmp_path, tiny_world, steps=2, checkpoint_every=1)


def contents(folder: Path) -> dict[str, Any]:
    """Return the files that training writes, and the time of each checkpoint."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.parent.name == "adapter"}
    files |= {path: path.read_bytes() for path in folder.rglob("metrics.jsonl")}
    times = {path: path.stat().st_mtime_ns for path in folder.rglob(".metadata")}
    return {str(path.relative_to(folder)): content for path, content in (files | times).items()}


def test_every_combination_is_trained_and_listed_in_one_table(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    done = in_process("train", recipe, *RANKS_AND_METHODS, "--out", "g")
    assert done.code == 0, done.err
    out = tmp_path / "g"
    assert sorted(path.name for path in out.iterdir()) == sorted([*LABELS, "grid.json", "loss.svg"])
    for label in LABELS:
        card = read_card(out / label / "adapter")
        assert f"rank{card.adapter.rank}-method{card.adapter.method}" == label
        assert card.name == f"small-{label}"

    table = json.loads((out / "grid.json").read_text())
    losses = [row["held_out_loss"] for row in table]
    assert sorted(row["run"] for row in table) == sorted(LABELS)
    assert losses == sorted(losses)
    for row in table:
        card, rows = read_card(out / row["run"] / "adapter"), RunFolder(out / row["run"]).rows()
        measured = {each["step"]: each["held_out_loss"] for each in rows if "held_out_loss" in each}
        assert (row["base"], row["held_out_loss"]) == (measured[0], measured[card.step])
        assert (row["step"], row["base_domain_loss"]) == (card.step, None)
        assert card.preflight is not None
        assert row["parameters"] == card.preflight.trainable_parameters
        assert row["seconds"] == RunFolder(out / row["run"]).seconds()
    lines = [line for line in done.out.splitlines() if line.startswith("rank")]
    assert [line.split()[0] for line in lines] == [row["run"] for row in table]
    assert [line.split()[1] for line in lines] == [f"{loss:.4g}" for loss in losses]
    assert len(labels_in(out / "loss.svg")) == 2 * len(LABELS)  # held-out and training loss

    before = contents(out)
    shutil.rmtree(out / LABELS[3])  # one run not started, one stopped before its last step
    shutil.rmtree(out / LABELS[2] / "adapter")
    shutil.rmtree(checkpoints(out / LABELS[2] / "checkpoints")[-1])
    assert in_process("train", recipe, *RANKS_AND_METHODS, "--out", "g").code == 0
    after = contents(out)
    assert after.keys() == before.keys()
    for name, content in before.items():
        is_rewritten = name.endswith(".metadata") and (
            LABELS[3] in name or f"{LABELS[2]}/checkpoints/step-000002" in name
        )
        assert (after[name] != content) is is_rewritten, name
    assert [row | {"seconds": None} for row in json.loads((out / "grid.json").read_text())] == [
        row | {"seconds": None} for row in table
    ]


def labels_in(plot: Path) -> list[str]:
    """Return the labels of a plot's lines."""
    return re.findall(r'class="name [^>]*>([^<]+)<', plot.read_text())


def test_each_line_of_the_plot_is_labeled_with_its_run(tmp_path: Path) -> None:
    rows = [{"step": step, "held_out_loss": 2.0 - step} for step in (0, 1)]
    write_loss_plot(tmp_path / "loss.svg", dict.fromkeys(LABELS, rows))
    assert len(set(labels_in(tmp_path / "loss.svg"))) == len(LABELS)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (["adapter.rank"], "'adapter.rank' is not key=value,value"),
        (["adapter.rank="], "'adapter.rank=' is not key=value,value"),
        (["=2,4"], "'=2,4' is not key=value,value"),
        (["adapter.rank=[2"], "not YAML"),
        (["adapter.rnak=2,4"], "Did you mean 'rank'?"),
        (["adapter.rank=2,0"], "'adapter.rank' is 0"),
        (["adapter.rank=2", "adapter.method=lora,dorra"], "'adapter.method' is 'dorra'"),
        (["train.lr=0.01,high"], "'train.lr' is 'high'"),
        (["adapter.targets=[to_q],[to_z]"], "ends in 'to_z'"),
    ],
)
def test_wrong_grid_is_one_line_before_any_training(
    in_process: Verb, recipe: Path, tmp_path: Path, grid: list[str], says: str
) -> None:
    assert says in fault(in_process, "train", recipe, "--grid", *grid, "--out", "g")
    assert not (tmp_path / "g").exists()


def test_combinations_with_the_same_name_are_rejected(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    line = fault(in_process, "train", recipe, "--grid", "train.lr=1e-3,1e+3", "--out", "g")
    assert "two combinations would share the folder lr" in line
    assert not (tmp_path / "g").exists()


def test_overrides_beside_a_grid_apply_to_every_run(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    done = in_process("train", recipe, "train.lr=0.003", "--out", "g", "--grid", "train.seed=1,2")
    assert done.code == 0, done.err
    for seed in (1, 2):
        written = (tmp_path / "g" / f"seed{seed}" / "recipe.yaml").read_text()
        assert "lr: 0.003" in written
        assert f"seed: {seed}\n" in written


def rendered(in_process: Verb, recipe: Path, *grid: str) -> list[str]:
    """Return the commands of the jobs for a cluster."""
    done = in_process("train", recipe, "--launch", "slurm", "--gpus", 1, "--render", "--out", "g", "--grid", *grid)
    assert done.code == 0, done.err
    return [line for line in done.out.splitlines() if "--resume auto" in line]


def test_grid_is_launched_as_one_job_per_run(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    commands = rendered(in_process, recipe, "adapter.rank=2,4")
    assert len(commands) == 2
    for rank, command in zip((2, 4), commands, strict=True):
        assert f"adapter.rank={rank} name=small-rank{rank} --out g/rank{rank} --resume auto" in command
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(
    "grid", ["base=one.safetensors,other.safetensors", "data.path=lab.films,home.films", "train.weight_decay=1,1.0"]
)
def test_similar_grid_values_get_separate_runs(in_process: Verb, recipe: Path, grid: str) -> None:
    assert len(set(rendered(in_process, recipe, grid))) == 2
