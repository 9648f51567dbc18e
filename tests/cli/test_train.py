import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from support.films import write_films
from support.processes import start, wait_until
from support.training import write_recipe
from worldtune.adapters.card import read_card
from worldtune.cli.main import INTERRUPTED, INTERRUPTION
from worldtune.training.recipe import load_recipe
from worldtune.training.run import RunFolder

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The latent store is under the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def recipe(tiny_world: Path, tmp_path: Path) -> Path:
    return write_recipe(tmp_path, tiny_world)


def test_a_run_leaves_what_it_promises(in_process: Verb, recipe: Path, tmp_path: Path, home: Path) -> None:
    done = in_process("train", recipe, "train.preview_every=3", "--out", "run")
    assert done.code == 0, done.err
    assert "6 clips to train on, 2 held out" in done.out
    assert re.search(r"held-out loss {2}\d\.\d{3} → \d\.\d{3}", done.out)
    assert "run/adapter" in done.out
    assert re.search(r"proved +\d+ base tensors loaded, 20 layers adapted, 40 tensors trained, first loss \d", done.out)
    weights = tmp_path / "run" / "adapter" / "pytorch_lora_weights.safetensors"
    assert weights.stat().st_mode == (tmp_path / "run" / "adapter" / "adapter.json").stat().st_mode
    found = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*")}
    assert {
        "recipe.yaml", "lineage.json", "metrics.jsonl", "timing.json", "loss.svg", "adapter/adapter.json",
        "adapter/pytorch_lora_weights.safetensors", "previews/step-000003.mp4", "previews/step-000006.mp4",
        "checkpoints/step-000004", "checkpoints/step-000006",
    } <= found  # fmt: skip
    assert (home / ".cache" / "worldtune" / "latents").is_dir()
    assert not list(tmp_path.rglob("*.partial"))


def test_the_run_folder_is_named_after_the_recipe(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    assert in_process("train", recipe, "name=mine").code == 0
    assert (tmp_path / "runs" / "mine" / "adapter").is_dir()


def test_killed_and_interrupted_and_resumed_it_is_as_if_never_stopped(
    in_process: Verb, recipe: Path, tmp_path: Path
) -> None:
    arguments = ("train", recipe, "train.steps=60", "train.checkpoint_every=10", "validate.every=7", "--out")
    stopped, whole = RunFolder(tmp_path / "stopped"), RunFolder(tmp_path / "whole")

    process = start(*arguments, stopped.path)
    wait_until(lambda: any(row["step"] >= 13 for row in stopped.rows()), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not stopped.adapter.exists()
    killed_at, file = stopped.rows()[-1]["step"], stopped.metrics.stat().st_ino

    process = start(*arguments, stopped.path, "--resume")
    wait_until(lambda: stopped.metrics.stat().st_ino != file and stopped.rows()[-1]["step"] >= killed_at + 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == INTERRUPTED, err
    assert err.splitlines()[-1] == INTERRUPTION
    assert "Traceback" not in err
    assert not list(stopped.path.rglob("*.partial"))
    assert not stopped.adapter.exists()

    assert in_process(*arguments, stopped.path, "--resume").code == 0
    assert in_process(*arguments, whole.path).code == 0
    assert stopped.metrics.read_bytes() == whole.metrics.read_bytes()
    assert [row["step"] for row in whole.rows() if "loss" in row] == list(range(1, 61))
    names = sorted(path.name for path in whole.adapter.iterdir())
    assert sorted(path.name for path in stopped.adapter.iterdir()) == names
    for name in names:
        assert (stopped.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()


def test_a_misspelt_override_names_the_nearest(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    assert fault(in_process, "train", recipe, "train.stesp=5").endswith("Did you mean 'steps'?")
    assert not (tmp_path / "runs").exists()


def test_an_unknown_recipe_is_named(in_process: Verb) -> None:
    assert "Did you mean 'pocket-new-view'?" in fault(in_process, "train", "pocket-new-veiw")
    assert "no such recipe [nothing.yaml]" in fault(in_process, "train", "nothing.yaml")


def test_a_run_does_not_start_twice(in_process: Verb, recipe: Path) -> None:
    assert in_process("train", recipe, "--out", "run").code == 0
    assert "--resume" in fault(in_process, "train", recipe, "--out", "run")
    assert "train.lr 0.01 → 0.02" in fault(in_process, "train", recipe, "train.lr=0.02", "--out", "run", "--resume")


def test_nothing_to_resume_is_said(in_process: Verb, recipe: Path) -> None:
    assert "no run to resume" in fault(in_process, "train", recipe, "--out", "run", "--resume")


def contents(run: Path) -> dict[str, bytes]:
    """The metrics and the adapter, which are the same however often a run was stopped."""
    files = [run / "metrics.jsonl", *sorted((run / "adapter").iterdir())]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def test_resume_auto_starts_and_goes_on(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    command = ("train", recipe, "--out", "run", "--resume", "auto")
    assert in_process(*command).code == 0
    whole = contents(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "adapter")  # as if stopped before its last checkpoint
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000006")
    for _ in range(2):
        done = in_process(*command)
        assert done.code == 0, done.err
        assert contents(tmp_path / "run") == whole


def test_a_run_says_where_it_goes_on_and_takes_no_change_that_would_do_nothing(
    in_process: Verb, recipe: Path, tmp_path: Path
) -> None:
    assert "goes on" not in in_process("train", recipe, "--out", "run").out
    written = (tmp_path / "run" / "recipe.yaml").read_bytes()
    assert "nothing is left to train after step 6" in in_process("train", recipe, "--out", "run", "--resume").out
    for change in ("train.lr=0.001", "train.steps=3"):
        said = fault(in_process, "train", recipe, change, "--out", "run", "--resume", "--allow-change")
        assert f"nothing would come of {change.partition('=')[0]}" in said
        assert (tmp_path / "run" / "recipe.yaml").read_bytes() == written
    more = in_process("train", recipe, "train.steps=8", "--out", "run", "--resume", "--allow-change")
    assert "goes on after step 6 of 8" in more.out


def test_an_early_end_is_told(in_process: Verb, recipe: Path) -> None:
    worse = ("train.lr=3", "train.warmup=0", "train.steps=30", "validate={every: 1, sigmas: 2, patience: 2}")
    done = in_process("train", recipe, *worse, "--out", "run")
    assert re.search(r"stopped after step \d+ of 30: 2 validations in a row were no better", done.out)


def test_a_batch_too_small_for_a_cluster_is_told_before_it_is_started(in_process: Verb, recipe: Path) -> None:
    said = fault(in_process, "train", recipe, "--launch", "slurm", "--nodes", 2, "--gpus", 8, "--render")
    assert "a batch of 3 leaves some of 16 replicas without a clip" in said


def test_a_cache_elsewhere_holds_the_store(
    in_process: Verb, recipe: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert in_process("encode", recipe).code == 0
    assert (tmp_path / "elsewhere" / "worldtune" / "latents").is_dir()
    assert not (home / ".cache" / "worldtune" / "latents").exists()


def test_a_change_is_shown_and_allowed_when_asked_for_and_told_in_the_lineage(
    in_process: Verb, recipe: Path, tmp_path: Path
) -> None:
    command = ("train", recipe, "--out", "run", "--resume", "train.steps=8", "train.lr=0.02")
    assert in_process("train", recipe, "--out", "run").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    said = fault(in_process, *command)
    assert "train.steps 6 → 8; train.lr 0.01 → 0.02" in said
    assert "--allow-change" in said
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before

    started = json.loads((tmp_path / "run" / "lineage.json").read_text())
    done = in_process(*command, "--allow-change")
    assert done.code == 0, done.err
    rows = RunFolder(tmp_path / "run").rows()
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 9))
    now = json.loads((tmp_path / "run" / "lineage.json").read_text())
    (resumed,) = now.pop("resumed_with")
    assert now == started
    assert resumed["recipe"] != started["recipe"]
    assert {part for part in resumed if resumed[part] != started[part]} == {"recipe"}
    assert read_card(tmp_path / "run" / "adapter").lineage["resumed_with"] == [resumed]
    assert load_recipe(tmp_path / "run" / "recipe.yaml", []).train.lr == 0.02
    assert in_process(*command).code == 0, "it is no change any more"


def test_other_datasets_are_allowed_when_asked_for_and_told_in_the_lineage(
    in_process: Verb, recipe: Path, tmp_path: Path
) -> None:
    assert in_process("train", recipe, "--out", "run").code == 0
    write_films(tmp_path / "films", 8, background=(9, 99, 199))
    command = ("train", recipe, "train.steps=8", "--out", "run", "--resume", "--allow-change")
    assert in_process(*command).code == 0
    lineage = json.loads((tmp_path / "run" / "lineage.json").read_text())
    assert lineage["datasets"] != lineage["resumed_with"][0]["datasets"]
    assert in_process("train", recipe, "train.steps=8", "--out", "run", "--resume").code == 0


def test_another_base_is_not_gone_on_with_whatever_is_allowed(
    in_process: Verb, recipe: Path, tmp_path: Path, tiny_world: Path
) -> None:
    assert in_process("train", recipe, "--out", "run").code == 0
    other = shutil.copytree(tiny_world, tmp_path / "other")
    (weights,) = (other / "transformer").glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-4] ^= 1  # the last bit of a weight
    weights.write_bytes(content)
    command = ("train", recipe, f"base={other}", "--out", "run", "--resume", "--allow-change")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert "the base changed since the run was started" in fault(in_process, *command)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("change", ["adapter.rank=2", "train.optimizer=muon", "train.ema={decay: [0.9]}"])
def test_a_change_that_no_checkpoint_fits_leaves_the_run_as_it_was(
    in_process: Verb, recipe: Path, tmp_path: Path, change: str
) -> None:
    assert in_process("train", recipe, "--out", "run").code == 0
    kept = [tmp_path / "run" / name for name in ("recipe.yaml", "lineage.json", "metrics.jsonl")]
    before = [path.read_text() for path in kept]
    fault(in_process, "train", recipe, change, "train.steps=8", "--out", "run", "--resume", "--allow-change")
    assert [path.read_text() for path in kept] == before


@pytest.mark.parametrize(
    "option",
    [
        ("--nodes", "2"),
        ("--gpus", "8"),
        ("--accelerator", "H100"),
        ("--image", "a/b:1"),
        ("--volume", "v"),
        ("--render",),
    ],
    ids=lambda option: option[0],
)
def test_an_option_of_a_launched_run_without_a_launch_is_refused(
    in_process: Verb, recipe: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    said = fault(in_process, "train", recipe, "--out", "run", *option)
    assert f"only a launched run has these [{option[0]}]" in said
    assert "--launch slurm, skypilot or kubernetes" in said
    assert not (tmp_path / "run").exists()


def test_a_launch_must_say_how_many_gpus(in_process: Verb, recipe: Path) -> None:
    said = fault(in_process, "train", recipe, "--launch", "slurm", "--nodes", 2)
    assert said.endswith("how many GPUs has a machine? [--launch slurm]. Add --gpus.")


def test_a_folder_that_cannot_be_made_is_named(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot create the folder" in fault(in_process, "train", recipe, "--out", "file/run")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.path=nowhere", "nowhere"),
        ("data.frames=13", "8: shorter than the window"),
        ("data.frames=8", "frames must be 1 + 4n"),
        ("data.caption='{nothing}'", "unknown caption field"),
        ("data.caption={nothing", "not YAML"),
        ("data.cameras=[wrist]", "wrist"),
        (
            "data.caption='the robot arm {caption} as slowly, carefully and gently as it possibly can'",
            "the base reads 64",
        ),
        ("base=nowhere", "this is no base model"),
        ("train.lr=1.0e-30", "never changed"),
        ("adapter.targets=[to_z]", "no linear layer ends in 'to_z'"),
        ("adapter.rank=0", "'adapter.rank' is 0"),
        ("train.ema={decay: [1.0]}", "decay between 0 and 1"),
        ("machine.shard_base=true", "shard_base needs every block computed again"),
        ("machine.context=2", "machine.context is 2, but the run has 1 process"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    in_process: Verb, recipe: Path, tmp_path: Path, override: str, says: str
) -> None:
    assert says in fault(in_process, "train", recipe, override, "--out", "run")
    assert not (tmp_path / "run" / "adapter").exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_after_a_mistake_is_mended_the_same_command_works(in_process: Verb, recipe: Path) -> None:
    fault(in_process, "train", recipe, "data.path=nowhere", "--out", "run")
    done = in_process("train", recipe, "--out", "run")
    assert done.code == 0, done.err


def test_data_that_changed_since_are_not_trained_on(
    in_process: Verb, recipe: Path, tmp_path: Path, tiny_world: Path
) -> None:
    assert in_process("train", recipe, "--out", "run").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    write_films(tmp_path / "films", 8, background=(9, 99, 199))
    assert "the datasets changed since" in fault(in_process, "train", recipe, "--out", "run", "--resume")
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert after == before  # ledger and timing too: they are the evidence of the adapter that is there


def test_encode_fills_the_store_that_training_uses(in_process: Verb, recipe: Path, home: Path) -> None:
    done = in_process("encode", recipe)
    assert done.code == 0, done.err
    assert done.out.startswith("6 clips to train on, 2 held out\n")
    files = {path: path.stat().st_mtime_ns for path in home.rglob("*.safetensors")}
    assert sum(len(load_file(path)) for path in files) == 8 + 2 + 1  # clips, their two prompts, no prompt
    assert in_process("train", recipe).code == 0
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*.safetensors")} == files


def test_metrics_hold_no_times(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    assert in_process("train", recipe, "--out", "run").code == 0
    keys = {key for line in (tmp_path / "run" / "metrics.jsonl").open() for key in json.loads(line)}
    assert keys == {"step", "loss", "lr", "grad_norm", "held_out_loss", "held_out"}
