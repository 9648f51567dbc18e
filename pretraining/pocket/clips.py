"""The rendered clips in memory, and the training helpers that both stages share."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Clips:
    """Clips as frames_NTHWC uint8, with a prompt, task and view each."""

    frames_NTHWC: np.ndarray
    prompts: list[str]
    tasks: list[str]
    views: list[str]

    def __len__(self) -> int:
        return len(self.prompts)


def load_clips(folder: Path, sets: tuple[str, ...], exclude: tuple[str, ...] = ()) -> Clips:
    """Return every rendered clip of the named sets, in the order of the file names."""
    frames, prompts, tasks, views = [], [], [], []
    for path in sorted(folder.glob("*.npz")):
        name, task, view = path.stem.split("__")
        if name not in sets:
            continue
        with np.load(path) as group:
            frames.append(group["frames"])
            prompts += [str(group["prompt"])] * len(frames[-1])
        tasks += [task] * len(frames[-1])
        views += [view] * len(frames[-1])
    if not frames:
        raise FileNotFoundError(f"{folder} has no clips of {', '.join(sets)}: run render.py first")
    return Clips(np.concatenate(frames), prompts, tasks, views)


def as_video(frames_BTHWC: np.ndarray) -> Tensor:
    """Return uint8 frames as (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(frames_BTHWC).permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def join_workers() -> tuple[int, int]:
    """Return (rank, world size) under torchrun, or (0, 1); use one thread per worker."""
    if "RANK" not in os.environ:
        return 0, 1
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def average_gradients(parameters: list[nn.Parameter], world: int) -> None:
    if world == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


class Ema:
    """An exponential moving average of parameters with warm-up: decay ≤ (1+step)/(10+step)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            self.shadow[name].lerp_(parameter.detach(), 1 - decay)

    def copy_to(self, module: nn.Module) -> None:
        module.load_state_dict(self.shadow, strict=False)


def save_checkpoint(path: Path, **state: object) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.rename(path)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return decibels per clip of videos (B, ...) in [-1, 1], with peak 2."""
    return 10 * torch.log10(4 / (a - b).square().flatten(1).mean(1))
