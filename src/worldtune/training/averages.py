"""Moving averages of the adapter's weights (EMA), of which one may be exported instead of the last weights.

After update t, average = β·average + (1 − β)·weights. A power average has β = (1 − 1/t)^(γ+1) and so spans a
constant share of the run (Karras et al., arXiv:2312.02696, eq. 1; NVIDIA trains with γ = 6.94); a constant decay has
that β from the second update on. The first update copies the weights.
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from worldtune.strict import Strict


class Ema(Strict):
    """γ of each power average, β of each constant decay; all are kept."""

    power: list[float] = Field(default_factory=list)
    decay: list[float] = Field(default_factory=list)

    def model_post_init(self, _: object) -> None:
        if not all(gamma > 0 for gamma in self.power) or not all(0 < beta < 1 for beta in self.decay):
            raise ValueError("power is above 0, decay between 0 and 1")

    @property
    def names(self) -> list[str]:
        powers = [f"power-{gamma!r}".removesuffix(".0") for gamma in self.power]
        return powers + [f"decay-{beta!r}" for beta in self.decay]

    def beta(self, name: str, update: int) -> float:
        """β of the average `name` at update 1, 2, …"""
        kind, _, value = name.partition("-")
        if kind == "power":
            return (1 - 1 / update) ** (float(value) + 1)
        return float(value) if update > 1 else 0.0


Averages = dict[str, dict[str, Tensor]]


def begin_averages(ema: Ema, parameters: Mapping[str, nn.Parameter]) -> Averages:
    """Tensors by average and parameter, to be filled by the first update."""
    return {name: {key: p.detach().clone() for key, p in parameters.items()} for name in ema.names}


@torch.no_grad()
def update_averages(ema: Ema, averages: Averages, parameters: Mapping[str, nn.Parameter], update: int) -> None:
    """Take the weights after update `update`, which counts from 1, into every average."""
    for name, average in averages.items():
        beta = ema.beta(name, update)
        for key, parameter in parameters.items():
            average[key].lerp_(parameter, 1 - beta)
