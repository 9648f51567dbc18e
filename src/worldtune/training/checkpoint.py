"""Checkpoints as torch DCP folders, renamed into place when complete."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from worldtune.core.files import atomic_folder
from worldtune.core.tensors.dcp import load_tensors, save_tensors
from worldtune.errors import UserError, did_you_mean

NAME = re.compile(r"step-\d{6,}")


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor]) -> None:
    """Write `folder/step-NNNNNN`. Raise UserError if that fails, as on a full disk; earlier checkpoints stay intact."""
    try:
        with atomic_folder(folder / f"step-{step:06d}") as partial:
            save_tensors(partial, tensors)
    except OSError as error:
        what = f"the checkpoint of step {step} could not be written: {error.strerror or error}"
        raise UserError(what, where=str(folder), hint="Free disk space, then continue with --resume.") from error


def load_checkpoint(checkpoint: Path, into: Mapping[str, Tensor]) -> None:
    """Fill `into` in place. Raise UserError if the checkpoint is damaged or lacks a tensor."""
    load_tensors(checkpoint, into, require_digests=True)


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Remove all checkpoints except the newest `keep` and that of step `best`, if any."""
    for old in checkpoints(folder)[:-keep]:
        if step_of(old) != best:
            shutil.rmtree(old)


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first; unfinished ones have hidden names."""
    return sorted((path for path in folder.glob("step-*") if NAME.fullmatch(path.name)), key=step_of)


def newest_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, 0 if there is none."""
    return max(map(step_of, checkpoints(folder)), default=0)


def find_checkpoint(folder: Path, step: int) -> Path:
    """Return the checkpoint of a step. Raise UserError that lists the existing ones if there is none."""
    path = folder / f"step-{step:06d}"
    steps = [str(step_of(checkpoint)) for checkpoint in checkpoints(folder)]
    if str(step) not in steps:
        hint = did_you_mean(str(step), steps, f"Existing steps: {', '.join(steps) or '(none)'}.")
        raise UserError(f"there is no checkpoint of step {step}", where=str(folder), hint=hint)
    return path


def step_of(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("step-"))
