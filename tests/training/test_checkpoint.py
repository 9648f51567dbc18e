import re
from pathlib import Path

import pytest
import torch

from support.warm import run_warm
from worldtune.training.checkpoint import checkpoints, load_checkpoint, prune, save_checkpoint, step_of


def value(folder: Path, step: int) -> float:
    into = {"a": torch.zeros(3)}
    load_checkpoint(folder / f"step-{step:06d}", into)
    return into["a"][0].item()


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(folder, step, {"a": torch.full((3,), float(step))})


def test_checkpoints_are_ordered_by_step(tmp_path: Path) -> None:
    save(tmp_path, 1_000_000, 999_999)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [999_999, 1_000_000]
    assert value(tmp_path, 1_000_000) == 1_000_000


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4)
    prune(tmp_path, 2, 1)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [1, 3, 4]
    prune(tmp_path, 1, None)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [4]


def test_unfinished_checkpoint_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".step-000009.123.partial").mkdir(parents=True)
    assert checkpoints(tmp_path) == []


def test_prune_keeps_folders_with_other_names(tmp_path: Path) -> None:
    (tmp_path / "step-000001-old").mkdir()
    save(tmp_path, 1, 2, 3)
    prune(tmp_path, 1, None)
    assert (tmp_path / "step-000001-old").is_dir()
    assert [step_of(path) for path in checkpoints(tmp_path)] == [3]


FILLING = """
import resource, signal, sys, torch
from pathlib import Path
from worldtune.errors import UserError, UserError
from worldtune.training.checkpoint import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_checkpoint(Path(sys.argv[1]), int(sys.argv[2]), {"a": torch.ones(100_000)})
except UserError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("step", [1, 2])
def test_failed_write_is_an_error_and_keeps_earlier_checkpoints(tmp_path: Path, step: int) -> None:
    """The kernel stops the writing in the middle, as on a full disk."""
    save(tmp_path, 1)
    done = run_warm(FILLING, tmp_path, str(step))
    assert re.search(rf"^the checkpoint of step {step} could not be written: File too large.*--resume", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert value(tmp_path, 1) == 1


def test_interrupt_during_a_write_stays_an_interrupt(tmp_path: Path) -> None:
    """By the kernel's signal, in the middle of a file."""
    interrupted = FILLING.replace("signal.SIG_IGN", "signal.default_int_handler")
    done = run_warm(interrupted, tmp_path, "1")
    last = [
        line for line in done.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception|KeyboardInterrupt)\b", line)
    ][-1]
    assert last == "KeyboardInterrupt"
    assert list(tmp_path.iterdir()) == []
