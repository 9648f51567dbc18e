"""`worldtune evaluate` on real runs of a few steps on the pocket world."""

import json
from pathlib import Path

import pytest

from worldtune.cli.main import run

TINY = ["train.steps=4", "train.warmup=1", "train.checkpoint_every=4", "validate={every: 4, sigmas: 1}", "replay=null"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, recipe in (("view", "pocket-new-view"), ("task", "pocket-new-task")):
        assert run(["train", recipe, *TINY, "--out", str(folder / name)]) == 0
    return folder


def test_a_report_compares_the_base_and_the_run(runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert run(["evaluate", str(runs / "view"), "--clips", "2", "--steps", "2", "--out", str(report)]) == 0
    results = json.loads((report / "results.json").read_text())
    assert results["comparison"]["candidates"] == ["base", "view", "first frame frozen"]
    assert len(results["comparison"]["rows"]) == 2
    assert (report / "index.html").is_file()


def test_runs_of_different_datasets_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(runs / "view"), str(runs / "task"), "--out", str(tmp_path / "report")]) == 2
    assert "not trained on the same base and data" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_an_unfinished_run_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.yaml").write_text((runs / "view" / "recipe.yaml").read_text())
    assert run(["evaluate", str(unfinished)]) == 2
    assert "no adapter yet" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(tmp_path)]) == 2
    assert "error:" in capsys.readouterr().err
