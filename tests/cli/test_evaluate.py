"""`worldtune evaluate` on real runs of a few steps on the pocket world."""

import json
import shutil
from pathlib import Path

import pytest

from worldtune.cli.main import run

TINY = ["train.steps=4", "train.warmup=1", "train.checkpoint_every=4", "validate={every: 4, sigmas: 1}", "replay=null"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    forgetting = "{path: 'builtin:pocket-base-held-out', frames: 21, fps: 16, height: 64, width: 64}"
    probed = [*TINY[:-2], f"validate={{every: 4, sigmas: 1, forgetting: {forgetting}}}", "replay=null"]
    for name, recipe, overrides in (("view", "pocket-new-view", probed), ("task", "pocket-new-task", TINY)):
        assert run(["train", recipe, *overrides, "--out", str(folder / name)]) == 0
    return folder


def test_a_report_compares_the_base_and_the_run(runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert run(["evaluate", str(runs / "view"), "--clips", "2", "--steps", "2", "--out", str(report)]) == 0
    results = json.loads((report / "results.json").read_text())
    comparison = results["comparison"]
    assert comparison["candidates"] == ["base", "view", "nearest training clip", "first frame frozen"]
    assert [row["domain"] for row in comparison["rows"]] == ["Held-out clips of view"] * 2 + ["base domain"] * 2
    assert len(comparison["headline"]["cases"]) == 2
    assert results["reproduce"].endswith(f"--out {report} --steps 2 --guidance 0 --seed 0 --clips 2")
    assert (report / "index.html").is_file()


def test_runs_of_different_datasets_are_judged_on_the_clips_of_both(runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    asked = ["evaluate", str(runs / "view"), str(runs / "task"), "--clips", "2", "--steps", "1", "--out", str(report)]
    assert run(asked) == 0
    comparison = json.loads((report / "results.json").read_text())["comparison"]
    assert [group["name"] for group in comparison["domains"]] == [
        "Held-out clips of view", "Held-out clips of task", "base domain",
    ]  # fmt: skip
    assert comparison["headline"]["name"] == "Held-out clips of view"
    assert sum(len(group["cases"]) for group in comparison["matrix"]) == 4
    assert all({"view", "task"} <= set(group["results"]) for group in comparison["matrix"])
    assert "Task by adapter" in (report / "index.html").read_text()


def test_clips_that_another_run_was_trained_on_judge_nobody(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same recordings, split in another way."""
    other = tmp_path / "other"
    assert run(["train", "pocket-new-view", *TINY, "data.seed=1", "--out", str(other)]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(runs / "view"), str(other), "--out", str(tmp_path / "report")]) == 2
    assert "other was trained on the clip" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_an_unfinished_run_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.yaml").write_text((runs / "view" / "recipe.yaml").read_text())
    assert run(["evaluate", str(unfinished)]) == 2
    assert "no adapter yet" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(tmp_path)]) == 2
    assert "this is no run folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["base", "reference", "first frame frozen"])
def test_a_run_with_the_name_of_a_column_is_refused(
    runs: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "view", tmp_path / name)
    assert run(["evaluate", str(tmp_path / name), "--clips", "1"]) == 2
    assert f"a run cannot be called '{name}' here" in capsys.readouterr().err


def test_runs_of_one_name_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "view", tmp_path / "view")
    assert run(["evaluate", str(runs / "view"), str(tmp_path / "view")]) == 2
    assert "runs share a name" in capsys.readouterr().err


def test_a_dataset_that_is_not_what_was_trained_on_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With more episodes, clips that were trained on could be held out."""
    shutil.copytree(runs / "view", tmp_path / "view")
    card = tmp_path / "view" / "adapter" / "adapter.json"
    value = json.loads(card.read_text())
    value["lineage"]["datasets"]["data"] = "0" * 64
    card.write_text(json.dumps(value))
    assert run(["evaluate", str(tmp_path / "view"), "--clips", "1"]) == 2
    assert "held-out clips may be clips it has seen" in capsys.readouterr().err


@pytest.mark.parametrize("theirs", ["videos/mine.mp4", "thesis.tex"])
def test_a_folder_of_the_users_is_not_replaced(
    runs: Path, tmp_path: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out" / theirs
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert run(["evaluate", str(runs / "view"), "--clips", "1", "--out", str(tmp_path / "out")]) == 2
    assert "holds something else than a report" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_runs_measured_in_another_way_do_not_stand_side_by_side(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(runs / "view", tmp_path / "other")
    recipe = (other / "recipe.yaml").read_text()
    (other / "recipe.yaml").write_text(recipe.replace("- image2world", "- text2world"))
    assert run(["evaluate", str(runs / "view"), str(other), "--out", str(tmp_path / "report")]) == 2
    assert "not measured on the same clips in the same way" in capsys.readouterr().err


def test_an_adapter_of_another_base_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(runs / "view", tmp_path / "other")
    path = other / "adapter" / "adapter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_digest": "0" * 64}))
    assert run(["evaluate", str(other), "--clips", "1", "--steps", "1"]) == 2
    assert "made for another base" in capsys.readouterr().err
    assert not (other / "report").exists()
