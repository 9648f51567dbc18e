"""The note of a training step: its loss, the newest held-out loss, its speed and its memory."""

import resource
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from worldtune.models.catalog import BY_NAME
from worldtune.models.vae.shapes import SPATIAL, latent_frames
from worldtune.planning.training import plan_recipe
from worldtune.training.recipe import Recipe

RECENT_STEPS = 20  # steps whose time is averaged


class Speed:
    """The speed of a training run; call `note` after every step."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._is_known = recipe.base in BY_NAME  # only the catalog's bases have known sizes
        self._times: list[float] = []
        self._teraflop: float | None = None

    @cached_property
    def _tokens(self) -> int:
        """Return the tokens of a step. Clips must have been checked to have the recipe's size."""
        data, patch = self._recipe.data, 2 * SPATIAL
        frame = (data.height // patch) * (data.width // patch)
        return self._recipe.train.batch * latent_frames(data.frames) * frame

    def note(self, note: str, validations: Sequence[Mapping[str, Any]]) -> str:
        """Return the loop's note with held-out loss, tokens/s, TFLOP/s and the peak memory so far."""
        self._times = [*self._times[-RECENT_STEPS:], time.perf_counter()]
        parts = [note]
        if validations:
            parts.append(f"held out {validations[-1]['held_out_loss']:.3f}")
        if len(self._times) > 1:
            seconds = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
            parts.append(f"{_thousands(self._tokens / seconds)} tokens/s")
            parts += [f"{self._step_teraflop() / seconds:.2g} TFLOP/s"] if self._is_known else []
        return " · ".join([*parts, f"{_peak_gigabytes():.1f} GB"])

    def _step_teraflop(self) -> float:
        """Return the teraflops of a step over all processes, counted once by running the step without data."""
        if self._teraflop is None:
            self._teraflop = plan_recipe(self._recipe).flops / 1e12
        return self._teraflop


def _peak_gigabytes() -> float:
    """Return the peak memory so far: of the GPU if one is used, or else of this process."""
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return on_gpu / 1e9 if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _thousands(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
