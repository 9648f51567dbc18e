import errno
from pathlib import Path

import pytest
import torch

from worldtune.errors import UserError
from worldtune.training import checkpoint
from worldtune.training.checkpoint import checkpoints, load_checkpoint, prune, save_checkpoint, step_of


def value(folder: Path, step: int) -> float:
    into = {"a": torch.zeros(3)}
    load_checkpoint(folder / f"step-{step:06d}", into)
    return into["a"][0].item()


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(folder, step, {"a": torch.full((3,), float(step))})


def test_checkpoints_come_by_number_and_hold_what_was_saved(tmp_path: Path) -> None:
    save(tmp_path, 1_000_000, 999_999)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [999_999, 1_000_000]
    assert value(tmp_path, 1_000_000) == 1_000_000


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4)
    prune(tmp_path, 2, 1)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [1, 3, 4]
    prune(tmp_path, 1, None)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [4]


def test_an_unfinished_checkpoint_is_none(tmp_path: Path) -> None:
    (tmp_path / ".step-000009.123.partial").mkdir(parents=True)
    assert checkpoints(tmp_path) == []


def test_what_only_looks_like_a_checkpoint_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step-000001-old").mkdir()
    save(tmp_path, 1, 2, 3)
    prune(tmp_path, 1, None)
    assert (tmp_path / "step-000001-old").is_dir()
    assert [step_of(path) for path in checkpoints(tmp_path)] == [3]


def test_a_full_disk_is_one_line_and_harms_no_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk of this test's own cannot be filled here: the writing fails as it would on one."""
    save(tmp_path, 1)
    whole = checkpoint.save_tensors

    def fill(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        whole(folder, tensors)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_tensors", fill)
    for step in (1, 2):
        with pytest.raises(UserError, match=rf"step {step} could not be written: No space left.*--resume"):
            save(tmp_path, step)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert value(tmp_path, 1) == 1
