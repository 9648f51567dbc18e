"""The low-rank change of one layer, merged into its weight, blended, or computed from a dense change.

LoRA: W' = W + s·BA with s = alpha/rank; DoRA: W' = m ⊙ (W + s·BA) / ‖W + s·BA‖, with one norm per output (a row of W,
as in PEFT) or per input (a column, as in LyCORIS without `wd_on_output`). All in fp32.

Shapes: I inputs, O outputs, R rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worldtune.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """A (R, I), B (O, R), alpha, and for DoRA magnitudes over outputs (O,) or inputs (I,).

    An adapter that was read only to describe it has `StoredTensor`s, which cannot compute.
    """

    a_RI: "Tensor"
    b_OR: "Tensor"
    alpha: float
    magnitude_O: "Tensor | None" = None
    magnitude_I: "Tensor | None" = None

    @property
    def rank(self) -> int:
        return self.a_RI.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def is_dora(self) -> bool:
        return self.magnitude_O is not None or self.magnitude_I is not None

    def product(self) -> "Tensor":
        """Return s·BA (O, I)."""
        return self.scale * (self.b_OR.float() @ self.a_RI.float())


def is_zero(layers: Mapping[str, LowRank]) -> bool:
    """Return whether B is zero everywhere, as before training: then only a DoRA's magnitudes can change the output."""
    return not any(layer.b_OR.any() for layer in layers.values())


def parts_of(layers: Mapping[str, LowRank]) -> "dict[str, Tensor]":
    """Return the tensors of an adapter by names of module and part."""
    named = {
        f"{module}.{name}": part
        for module, layer in layers.items()
        for name, part in (
            ("lora_A", layer.a_RI),
            ("lora_B", layer.b_OR),
            ("lora_magnitude", layer.magnitude_O),
            ("lora_magnitude_over_inputs", layer.magnitude_I),
        )
    }
    return {name: part for name, part in named.items() if part is not None}


def merged(w_OI: "Tensor", layer: LowRank, strength: float = 1.0) -> "Tensor":
    """Return the weight with the layer merged in, rounded to W's type.

    `strength` interpolates linearly from W (0) to W' (1), also for DoRA, where scaling s would not lead back to W.
    """
    w = w_OI.float()
    full = w + layer.product()
    if layer.magnitude_O is not None:
        full = full * (layer.magnitude_O.float() / _norms(full, dim=1))[:, None]
    if layer.magnitude_I is not None:
        full = full * (layer.magnitude_I.float() / _norms(full, dim=0))
    return (w + strength * (full - w) if strength != 1 else full).to(w_OI.dtype)


def _norms(weight: "Tensor", dim: int) -> "Tensor":
    """Return norms to divide by; they are positive, so that a row or column of zeros stays zero."""
    import torch

    return weight.norm(dim=dim).clamp_min(torch.finfo(torch.float32).tiny)


def blended(layers: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
    """Return one LoRA whose change is exactly the weighted sum of several, by concatenating their factors.

    Raise ValueError for DoRA, whose magnitudes do not add up.
    """
    if any(layer.is_dora for layer in layers):
        raise ValueError("DoRA's magnitudes do not add up: merge the adapters into the base one after the other")
    import torch

    a_RI = torch.cat([layer.a_RI.float() for layer in layers])
    b_OR = torch.cat([w * layer.scale * layer.b_OR.float() for layer, w in zip(layers, weights, strict=True)], 1)
    return LowRank(a_RI, b_OR, float(len(a_RI)))


def blended_adapters(adapters: Sequence[tuple[Mapping[str, LowRank], float]]) -> dict[str, LowRank]:
    """Return the weighted sum of several LoRAs by module. Raise AdapterError for DoRA."""
    layers: dict[str, LowRank] = {}
    for module in sorted({module for adapter, _ in adapters for module in adapter}):
        summands = [(adapter[module], weight) for adapter, weight in adapters if module in adapter]
        try:
            layers[module] = blended([layer for layer, _ in summands], [weight for _, weight in summands])
        except ValueError as error:
            hint = "Use `worldtune adapter merge`."
            raise AdapterError(str(error), where=module, hint=hint) from error
    return layers


def closest(change_OI: "Tensor", rank: int) -> tuple[LowRank, float]:
    """Return the LoRA of `rank` nearest to a dense change, by singular values, and the share of energy it keeps."""
    import torch

    u_OS, s_S, v_SI = torch.linalg.svd(change_OI.float(), full_matrices=False)
    root_R = s_S[:rank].sqrt()
    layer = LowRank(root_R[:, None] * v_SI[:rank], u_OS[:, :rank] * root_R, float(min(rank, len(s_S))))
    energy = s_S.square()
    return layer, (energy[:rank].sum() / energy.sum()).item() if energy.sum() > 0 else 1.0
