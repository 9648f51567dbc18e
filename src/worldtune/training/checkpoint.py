"""Checkpoints as torch DCP folders: adapter, optimizer state and step, renamed into place when whole."""

import re
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from worldtune.distributed_checkpoint import load_tensors, save_tensors
from worldtune.files import atomic_folder

KEEP = 2
NAME = re.compile(r"step-\d{6,}")


def save_checkpoint(
    folder: Path, step: int, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Write `folder/step-NNNNNN` and drop all but the newest two."""
    with atomic_folder(folder / f"step-{step:06d}") as partial:
        save_tensors(partial, _state(parameters, optimizer))
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> int:
    """Restore the newest checkpoint in place and return its step; 0 when there is none.

    Raises UserError when it cannot be read.
    """
    saved = checkpoints(folder)
    if not saved:
        return 0
    _materialise(optimizer)
    load_tensors(saved[-1], _state(parameters, optimizer))
    return _step(saved[-1])


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first; unfinished ones have a hidden name."""
    return sorted((path for path in folder.glob("step-*") if NAME.fullmatch(path.name)), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _state(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Tensors by name, shared with the live objects, so that loading fills them and counts as a write to them."""
    state: dict[str, Tensor] = {f"adapter.{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            state[f"optimizer.{name}.{key}"] = value
    return state


def _materialise(optimizer: torch.optim.Optimizer) -> None:
    """Give AdamW its state tensors, by a step with zero gradients and no effect on the parameters."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
