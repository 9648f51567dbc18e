"""One layer's low-rank change, and what it makes of the layer's weight.

LoRA: W' = W + s·BA with s = alpha/rank; DoRA: W' = m ⊙ (W + s·BA) / ‖W + s·BA‖, by rows. All in fp32.

Shapes: I inputs, O outputs, R rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldtune.errors import AdapterError


@dataclass(frozen=True)
class LowRank:
    """A (R, I), B (O, R), alpha, and DoRA's magnitude (O,) or None."""

    a_RI: Tensor
    b_OR: Tensor
    alpha: float
    magnitude_O: Tensor | None = None

    @property
    def rank(self) -> int:
        return self.a_RI.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def product(self) -> Tensor:
        """s·BA (O, I)."""
        return self.scale * (self.b_OR.float() @ self.a_RI.float())


def merged(w_OI: Tensor, layer: LowRank, strength: float = 1.0) -> Tensor:
    """The weight with the layer in it, rounded to W's own type.

    `strength` goes in a straight line from W (0) to W' (1): for DoRA too, where scaling s alone would not end at W.
    """
    w = w_OI.float()
    full = w + layer.product()
    if layer.magnitude_O is not None:
        full = full * (layer.magnitude_O.float() / full.norm(dim=1))[:, None]
    return (w + strength * (full - w) if strength != 1 else full).to(w_OI.dtype)


def blended(layers: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
    """One LoRA whose change is the weighted sum of several, exactly: their ranks stand side by side.

    Raises ValueError for DoRA: its magnitudes do not add up.
    """
    if any(layer.magnitude_O is not None for layer in layers):
        raise ValueError("DoRA's magnitudes do not add up: merge the adapters into the base one after the other")
    a_RI = torch.cat([layer.a_RI.float() for layer in layers])
    b_OR = torch.cat([w * layer.scale * layer.b_OR.float() for layer, w in zip(layers, weights, strict=True)], 1)
    return LowRank(a_RI, b_OR, float(len(a_RI)))


def blended_adapters(adapters: Sequence[tuple[Mapping[str, LowRank], float]]) -> dict[str, LowRank]:
    """One LoRA, by module, whose change is the weighted sum of several adapters'. Raises AdapterError for DoRA."""
    layers: dict[str, LowRank] = {}
    for module in sorted({module for each, _ in adapters for module in each}):
        own = [(each[module], weight) for each, weight in adapters if module in each]
        try:
            layers[module] = blended([layer for layer, _ in own], [weight for _, weight in own])
        except ValueError as error:
            mend = "Use `worldtune adapter merge`."
            raise AdapterError(str(error), where=module, mend=mend) from error
    return layers


def closest(change_OI: Tensor, rank: int) -> tuple[LowRank, float]:
    """The LoRA of `rank` nearest to a change of weight, by its singular values, and the share of energy it keeps."""
    u_OS, s_S, v_SI = torch.linalg.svd(change_OI.float(), full_matrices=False)
    root_R = s_S[:rank].sqrt()
    layer = LowRank(root_R[:, None] * v_SI[:rank], u_OS[:, :rank] * root_R, float(min(rank, len(s_S))))
    energy = s_S.square()
    return layer, (energy[:rank].sum() / energy.sum()).item() if energy.sum() > 0 else 1.0
