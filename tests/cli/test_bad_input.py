"""User errors on the command line: one line that names the error, exit code 2, nothing half-written."""

from pathlib import Path

import pytest

from support.training import write_recipe

from ..data.videos import cosmos_folder, truncate
from .in_process import Verb, fault, in_process

__all__ = ["in_process"]


@pytest.fixture
def recipe(tiny_world: Path, tmp_path: Path) -> Path:
    return write_recipe(tmp_path, tiny_world)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda data: (data / "videos" / "000.mp4").unlink(), "a caption without a video"),
        (lambda data: truncate(data / "videos" / "000.mp4"), "the video is cut short"),
        (lambda data: (data / "metas" / "000.txt").unlink(), "caption missing"),
    ],
    ids=["video missing", "video truncated", "caption missing"],
)
def test_lost_recording_stops_training_and_is_named(
    in_process: Verb, recipe: Path, tmp_path: Path, harm: object, reason: str
) -> None:
    assert callable(harm)
    harm(cosmos_folder(tmp_path / "data", {f"{i:03d}": 9 for i in range(8)}))
    line = fault(in_process, "train", recipe, "data.path=data", "--out", "run")
    assert "1 of 8 recordings give no clip (12%; the limit is 5%)" in line
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    checked = in_process("check", recipe, "data.path=data")
    assert checked.code == 2
    assert reason in " ".join(checked.out.split())


def test_short_clips_and_an_empty_training_split_are_rejected(in_process: Verb, recipe: Path) -> None:
    assert "shorter than the window" in fault(in_process, "train", recipe, "data.frames=13", "--out", "run")
    assert "nothing is left for training" in fault(in_process, "train", recipe, "data.held_out=0.99", "--out", "run")


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "small.yaml", "--out", "file/run"),
        ("generate", "--prompt", "a", "-o", "file/out"),
        ("demo", "--quick", "--out", "file/demo"),
        ("inspect", "films", "--sheet", "file/sheet.png"),
        ("check", "films", "--ledger", "file/ledger.parquet"),
        ("bench", "pocket", "--quick", "--plot", "file/plots"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_unwritable_output_is_reported_before_any_work(
    in_process: Verb, recipe: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert "cannot create the folder" in fault(in_process, *arguments)
    assert (tmp_path / "file").read_text() == "mine"


def test_unwritable_store_is_reported(
    in_process: Verb, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert "cannot create the folder" in fault(in_process, "encode", recipe)


def test_infinite_fps_is_rejected(in_process: Verb, recipe: Path) -> None:
    assert "fps" in fault(in_process, "check", "films", "--fps", "inf")
    assert "data.fps" in fault(in_process, "train", recipe, "data.fps=.inf", "--out", "run")
