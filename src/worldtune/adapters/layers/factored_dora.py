"""DoRA without a weight-sized temporary: the row norm from the factors, and one product instead of peft's five.

y = (m / n) ⊙ (Wx + s·B(Ax)), with the row norm of W + s·BA from ‖w‖² and two r-wide products,

    n² = ‖w‖² + Σ_k B_k (2s·(W Aᵀ)_k + s²·(B A Aᵀ)_k)        (rows of W, B; k over the rank)

n is a constant in backpropagation (DoRA, arXiv:2402.09353 §4.3) and depends only on A, B and W: it is cached until one
of them changes. If a row nearly cancels, the sum loses digits, and that row is computed densely.

Shapes: (..., I) inputs, (..., O) outputs, R rank.
"""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from worldtune.adapters.layers.base_weight import own_tensors, rows
from worldtune.adapters.layers.initialization import factors, is_initialized
from worldtune.adapters.layers.memory_efficient_lora import (
    MemoryEfficientLora,
    add_low_rank,
    check_no_dropout,
    check_not_quantized,
    rescale,
)

ROWS = 1024
CANCELED = 1e-2  # relative to ‖w‖²: below, the factored n² is no longer exact to fp32


class FactoredDora(DoraLinearVariant):  # type: ignore[misc]
    """peft's DoRA on one linear layer with another forward pass. Raises ValueError for bias and dropout."""

    def __init__(self, module: LoraLayer, adapter: str) -> None:
        if module.get_base_layer().bias is not None:
            raise ValueError("the factored form is for linear layers without bias")
        check_no_dropout(module, adapter)
        self.versions: tuple[float, ...] = ()
        self.norm_O = torch.empty(0)

    def forward(self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        """Return the layer's output (..., O) from its input and the base layer's output `result`."""
        scale, magnitude_O = module.scaling[active_adapter], module.lora_magnitude_vector[active_adapter].weight
        y = add_low_rank(result, x, *factors(module, active_adapter), scale)
        return rescale(y, magnitude_O, self.norm(module, active_adapter))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it reads versions, which a compiled graph lacks
    @torch.no_grad()
    def norm(self, module: LoraLayer, adapter: str) -> Tensor:
        """Return the row norm of W + s·BA in fp32, recomputed only if s or a tensor changed."""
        trained = module.lora_A[adapter].weight, module.lora_B[adapter].weight
        tensors = (*own_tensors(module.get_base_layer()), *trained, *module.buffers(recurse=False))
        if any(_without_data(tensor) or tensor.is_inference() for tensor in tensors):  # they have no version
            return _norm_in_chunks(module, adapter)
        versions = (module.scaling[adapter], *(number for t in tensors for number in (t._version, t.data_ptr())))
        if versions != self.versions:
            self.norm_O, self.versions = _norm_in_chunks(module, adapter), versions
        return self.norm_O

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        _check_mergeable(module)
        return DoraLinearVariant.merge_safe(module, active_adapter, orig_weight)

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        _check_mergeable(module)
        DoraLinearVariant.merge_unsafe(module, active_adapter, orig_weight)


def _check_mergeable(module: LoraLayer) -> None:
    """Raise ValueError if peft's merge, which uses only trained factors and writes into the weight, would be wrong."""
    if is_initialized(module):
        raise ValueError("the adapter in training has frozen factors: save it, and merge the saved adapter")
    check_not_quantized(module)


def _norm_in_chunks(module: LoraLayer, adapter: str) -> Tensor:
    """Compute the norm some rows at a time, so that a bf16 or quantized weight is never whole in fp32."""
    layer, (a_RI, b_OR), scale = module.get_base_layer(), factors(module, adapter), module.scaling[adapter]
    starts = range(0, len(b_OR), ROWS)
    return torch.cat(
        [row_norm(rows(layer, start, start + ROWS), a_RI, b_OR[start : start + ROWS], scale) for start in starts]
    )


def row_norm(w_OI: Tensor, a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
    """Return ‖w + scale·(BA)‖ of every row (O,), in fp32 or better, without computing BA."""
    precision = torch.promote_types(w_OI.dtype, torch.float32)
    w_OI, a_RI, b_OR = w_OI.to(precision), a_RI.to(precision), b_OR.to(precision)
    base_O = w_OI.square().sum(1)
    inner_OR = 2 * scale * (w_OI @ a_RI.t()) + scale**2 * (b_OR @ (a_RI @ a_RI.t()))
    square_O = base_O + (b_OR * inner_OR).sum(1)
    canceled = square_O < CANCELED * base_O
    if not _without_data(w_OI) and canceled.any():
        square_O[canceled] = (w_OI[canceled] + scale * (b_OR[canceled] @ a_RI)).square().sum(1)
    return square_O.sqrt()


def _without_data(tensor: Tensor) -> bool:
    """Return whether a tensor has only a shape, as in memory planning."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def use_memory_efficient_layers(denoiser: nn.Module, adapter: str) -> None:
    """Make every adapter layer memory-efficient, and set a DoRA's magnitude to its norm: the output does not change."""
    for module in denoiser.modules():
        if isinstance(module, LoraLayer) and adapter not in module.lora_variant:
            module.lora_variant[adapter] = MemoryEfficientLora(module, adapter)
        elif isinstance(module, LoraLayer):
            form = FactoredDora(module, adapter)
            module.lora_variant[adapter] = form
            module.lora_magnitude_vector[adapter].weight.data = form.norm(module, adapter).clone()
