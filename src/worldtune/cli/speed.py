"""What the training bar says of a step: its loss, the newest held-out loss, and how fast it goes in how much memory."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldtune.training.recipe import Recipe

LATEST = 20  # steps whose time is averaged


class Speed:
    """`note` is called after every step."""

    def __init__(self, recipe: "Recipe") -> None:
        from worldtune.worlds.catalog import BY_NAME
        from worldtune.worlds.latent_size import SPATIAL, latent_frames

        data, patch = recipe.data, 2 * SPATIAL
        frame = (data.height // patch) * (data.width // patch)
        self._tokens = recipe.train.batch * latent_frames(data.frames) * frame
        self._recipe = recipe
        self._is_known = recipe.base in BY_NAME  # or its sizes cannot be told from its name
        self._times: list[float] = []
        self._teraflop: float | None = None

    def note(self, loss: float, validations: Sequence[Mapping[str, Any]]) -> str:
        """Loss, held-out loss, tokens/s, TFLOP/s and the most memory so far."""
        self._times = [*self._times[-LATEST:], time.perf_counter()]
        parts = [f"loss {loss:.3f}"]
        if validations:
            parts.append(f"held out {validations[-1]['held_out_loss']:.3f}")
        if len(self._times) > 1:
            seconds = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
            parts.append(f"{_thousands(self._tokens / seconds)} tokens/s")
            parts += [f"{self._step_teraflop() / seconds:.2g} TFLOP/s"] if self._is_known else []
        return " · ".join([*parts, f"{_peak_gigabytes():.1f} GB"])

    def _step_teraflop(self) -> float:
        """Of all processes together; counted once, by running the step without data."""
        if self._teraflop is None:
            from worldtune.planning.training import plan_recipe

            self._teraflop = plan_recipe(self._recipe).flops / 1e12
        return self._teraflop


def _peak_gigabytes() -> float:
    """The most memory so far: of the GPU where one is used, or else of this process."""
    import torch

    from worldtune.bench.machine import peak_gigabytes

    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return on_gpu / 1e9 if on_gpu else peak_gigabytes()


def _thousands(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
