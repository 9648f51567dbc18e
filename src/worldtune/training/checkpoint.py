"""Checkpoints as torch DCP folders, renamed into place when whole."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from worldtune.distributed_checkpoint import load_tensors, save_tensors
from worldtune.errors import UserError, did_you_mean
from worldtune.files import atomic_folder

NAME = re.compile(r"step-\d{6,}")


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor]) -> None:
    """Write `folder/step-NNNNNN`. Raises UserError when that fails, as on a full disk: those before it stay whole."""
    try:
        with atomic_folder(folder / f"step-{step:06d}") as partial:
            save_tensors(partial, tensors)
    except OSError as error:
        what = f"the checkpoint of step {step} could not be written: {error.strerror or error}"
        raise UserError(what, where=str(folder), mend="Make room, then go on with --resume.") from error


def load_checkpoint(checkpoint: Path, into: Mapping[str, Tensor]) -> None:
    """Fill `into` in place. Raises UserError when a byte of the checkpoint is not what was written, or it lacks one."""
    load_tensors(checkpoint, into, with_digests=True)


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Remove all but the newest `keep` checkpoints and that of step `best`, if any."""
    for old in checkpoints(folder)[:-keep]:
        if step_of(old) != best:
            shutil.rmtree(old)


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first; unfinished ones have a hidden name."""
    return sorted((path for path in folder.glob("step-*") if NAME.fullmatch(path.name)), key=step_of)


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint, 0 where there is none."""
    return max(map(step_of, checkpoints(folder)), default=0)


def find_checkpoint(folder: Path, step: int) -> Path:
    """Raises UserError, which names those that there are, when there is no checkpoint of that step."""
    path = folder / f"step-{step:06d}"
    steps = [str(step_of(each)) for each in checkpoints(folder)]
    if str(step) not in steps:
        mend = did_you_mean(str(step), steps, f"There are checkpoints of steps {', '.join(steps) or '(none)'}.")
        raise UserError(f"there is no checkpoint of step {step}", where=str(folder), mend=mend)
    return path


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
