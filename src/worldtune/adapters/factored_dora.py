"""DoRA without a weight-sized temporary: the row norm from its factors, and one product where peft has five.

y = (m / n) ⊙ (Wx + s·B(Ax)), with the row norm of W + s·BA from ‖w‖² and two r-wide products,

    n² = ‖w‖² + Σ_k B_k (2s·(W Aᵀ)_k + s²·(B A Aᵀ)_k)        (rows of W, B; k over the rank)

n is a constant in backpropagation (DoRA, arXiv:2402.09353 §4.3) and depends on A, B and W alone: it is kept
until one of them changes. Where a row is nearly cancelled the sum loses digits, and that row is formed densely.

Shapes: (..., I) inputs, (..., O) outputs, R rank.
"""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from worldtune.adapters.base_weight import own_tensors, rows
from worldtune.adapters.lean import LeanLora, add_low_rank, refuse_dropout, refuse_quantised, rescale
from worldtune.adapters.start import factors, is_started

ROWS = 1024
CANCELLED = 1e-2  # of ‖w‖²: below it the factored n² is no longer exact to fp32


class FactoredDora(DoraLinearVariant):  # type: ignore[misc]
    """peft's DoRA on one linear layer, its forward replaced. Bias and dropout are refused."""

    def __init__(self, module: LoraLayer, adapter: str) -> None:
        if module.get_base_layer().bias is not None:
            raise ValueError("the factored form is for linear layers without bias")
        refuse_dropout(module, adapter)
        self.versions: tuple[int, ...] = ()
        self.norm_O = torch.empty(0)

    def forward(self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        """The layer's output (..., O) from its input and the base layer's output `result`."""
        scale, magnitude_O = module.scaling[active_adapter], module.lora_magnitude_vector[active_adapter].weight
        y = add_low_rank(result, x, *factors(module, active_adapter), scale)
        return rescale(y, magnitude_O, self.norm(module, active_adapter))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it looks at versions, which a compiled graph has none of
    @torch.no_grad()
    def norm(self, module: LoraLayer, adapter: str) -> Tensor:
        """The row norm of W + s·BA in fp32, computed anew only when a tensor was written to or moved."""
        trained = module.lora_A[adapter].weight, module.lora_B[adapter].weight
        tensors = (*own_tensors(module.get_base_layer()), *trained, *module.buffers(recurse=False))
        if any(_without_data(tensor) for tensor in tensors):
            return _norm_in_chunks(module, adapter)
        versions = tuple(number for t in tensors for number in (t._version, t.data_ptr()))
        if versions != self.versions:
            self.norm_O, self.versions = _norm_in_chunks(module, adapter), versions
        return self.norm_O

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        _refuse_merge(module)
        return DoraLinearVariant.merge_safe(module, active_adapter, orig_weight)

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        _refuse_merge(module)
        DoraLinearVariant.merge_unsafe(module, active_adapter, orig_weight)


def _refuse_merge(module: LoraLayer) -> None:
    """peft's own merge knows the trained factors alone, and writes into the weight."""
    if is_started(module):
        raise ValueError("save the adapter and merge that: as it is trained it has frozen factors beside it")
    refuse_quantised(module)


def _norm_in_chunks(module: LoraLayer, adapter: str) -> Tensor:
    """Some rows at a time: of a weight in bf16, or quantised, there is never a whole one in fp32."""
    layer, (a_RI, b_OR), scale = module.get_base_layer(), factors(module, adapter), module.scaling[adapter]
    starts = range(0, len(b_OR), ROWS)
    return torch.cat(
        [row_norm(rows(layer, start, start + ROWS), a_RI, b_OR[start : start + ROWS], scale) for start in starts]
    )


def row_norm(w_OI: Tensor, a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
    """‖w + scale·(BA)‖ of every row (O,), in fp32 or better, without forming BA."""
    precision = torch.promote_types(w_OI.dtype, torch.float32)
    w_OI, a_RI, b_OR = w_OI.to(precision), a_RI.to(precision), b_OR.to(precision)
    base_O = w_OI.square().sum(1)
    inner_OR = 2 * scale * (w_OI @ a_RI.t()) + scale**2 * (b_OR @ (a_RI @ a_RI.t()))
    square_O = base_O + (b_OR * inner_OR).sum(1)
    cancelled = square_O < CANCELLED * base_O
    if not _without_data(w_OI) and cancelled.any():
        square_O[cancelled] = (w_OI[cancelled] + scale * (b_OR[cancelled] @ a_RI)).square().sum(1)
    return square_O.sqrt()


def _without_data(tensor: Tensor) -> bool:
    """Whether it has a shape only, as where memory is planned."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def make_lean(denoiser: nn.Module, adapter: str) -> None:
    """Give every layer the lean form, and a DoRA's magnitude the norm it starts from: output unchanged."""
    for module in denoiser.modules():
        if isinstance(module, LoraLayer) and adapter not in module.lora_variant:
            module.lora_variant[adapter] = LeanLora(module, adapter)
        elif isinstance(module, LoraLayer):
            form = FactoredDora(module, adapter)
            module.lora_variant[adapter] = form
            module.lora_magnitude_vector[adapter].weight.data = form.norm(module, adapter).clone()
