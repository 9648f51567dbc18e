"""Moving averages of the adapter's weights (EMA). One of them may be exported instead of the last weights.

After update t, average = β·average + (1 − β)·weights. A power average has β = (1 − 1/t)^(γ+1), and so covers a
constant share of the run (Karras et al., arXiv:2312.02696, eq. 1; NVIDIA trains with γ = 6.94). A constant decay uses
its β from the second update on. The first update copies the weights.
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from worldtune.core.settings import StrictModel


class Ema(StrictModel):
    """The moving averages of a run: γ of each power average, and β of each constant decay."""

    power: list[float] = Field(default_factory=list)
    decay: list[float] = Field(default_factory=list)

    def model_post_init(self, _: object) -> None:
        if not all(gamma > 0 for gamma in self.power) or not all(0 < beta < 1 for beta in self.decay):
            raise ValueError("power must be above 0, and decay between 0 and 1")

    @property
    def names(self) -> list[str]:
        powers = [f"power-{gamma!r}".removesuffix(".0") for gamma in self.power]
        return powers + [f"decay-{beta!r}" for beta in self.decay]

    def beta(self, name: str, update: int) -> float:
        """Return β of the average `name` at update 1, 2, …"""
        kind, _, value = name.partition("-")
        if kind == "power":
            return (1 - 1 / update) ** (float(value) + 1)
        return float(value) if update > 1 else 0.0


Averages = dict[str, dict[str, Tensor]]


def init_ema(ema: Ema, parameters: Mapping[str, nn.Parameter]) -> Averages:
    """Return tensors by average and parameter, which the first update fills."""
    return {name: {key: p.detach().clone() for key, p in parameters.items()} for name in ema.names}


@torch.no_grad()
def update_ema(ema: Ema, averages: Averages, parameters: Mapping[str, nn.Parameter], update: int) -> None:
    """Add the weights after update `update`, which counts from 1, to every average."""
    for name, average in averages.items():
        beta = ema.beta(name, update)
        for key, parameter in parameters.items():
            average[key].lerp_(parameter, 1 - beta)
