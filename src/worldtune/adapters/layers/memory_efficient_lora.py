"""LoRA in a frozen linear layer that saves for backward only what backward needs.

y = z + s·(x Aᵀ) Bᵀ is added in place to z = W x, which the frozen layer no longer needs. Backward needs x, which is the
layer's input anyway, and recomputes h = x Aᵀ, R wide. DoRA's y = c ⊙ z needs its output y, which the next operation
usually keeps. A and B may be of any type: they and x enter the products in the type of z, which is the base's, or
autocast's inside autocast.

Shapes: (..., I) inputs, (..., O) outputs, R rank.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor
from torch.autograd.function import once_differentiable

from worldtune.adapters.layers.base_weight import is_quantized
from worldtune.adapters.layers.initialization import factors


def add_low_rank(z: Tensor, x: Tensor, a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
    """Return z + scale·(x Aᵀ) Bᵀ in the type of z; z may be overwritten."""
    x = x.to(z.dtype)  # under autocast they differ; the smaller one is saved for backward
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # the compiler fuses the plain form
        return _AddLowRank.apply(z, x, a_RI, b_OR, scale)  # type: ignore[no-untyped-call]
    h = F.linear(_rows(x), a_RI.to(z.dtype))
    return torch.addmm(_rows(z), h, b_OR.to(z.dtype).t(), alpha=scale).view_as(z)


def rescale(z: Tensor, magnitude_O: Tensor, norm_O: Tensor) -> Tensor:
    """Return z·m/n in the type of z; z may be overwritten. n is a constant in backpropagation.

    It is computed as z + (m/n − 1)·z: a scale near 1 loses nothing in bf16, and a scale of 1 changes no bit. Backward
    computes m's gradient from the output as Σ grad·y/m; where m is exactly 0 the gradient is 0.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # the compiler fuses the plain form
        return _Rescale.apply(z, magnitude_O, norm_O)  # type: ignore[no-untyped-call]
    return torch.addcmul(z, z, (magnitude_O / norm_O - 1).to(z.dtype))


class MemoryEfficientLora(LoraVariant):  # type: ignore[misc]
    """peft's LoRA on one linear layer with another forward pass. Raises ValueError for dropout."""

    def __init__(self, module: LoraLayer, adapter: str) -> None:
        check_no_dropout(module, adapter)

    def forward(self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        """Return the layer's output (..., O) from its input and the base layer's output `result`."""
        return add_low_rank(result, x, *factors(module, active_adapter), module.scaling[active_adapter])

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight + _change(module, active_adapter, orig_weight.dtype)

    @staticmethod
    @torch.no_grad()
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        orig_weight += _change(module, active_adapter, orig_weight.dtype)

    @staticmethod
    def unmerge(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight - _change(module, active_adapter, orig_weight.dtype)


def _change(module: LoraLayer, adapter: str, dtype: torch.dtype) -> Tensor:
    check_not_quantized(module)
    a_RI, b_OR = factors(module, adapter)
    return (module.scaling[adapter] * (b_OR @ a_RI)).to(dtype)


def check_not_quantized(module: LoraLayer) -> None:
    """Raise ValueError if the weight is quantized: it is decoded for each product, so a merge would be lost."""
    if is_quantized(module.get_base_layer()):
        raise ValueError("cannot merge into a quantized weight: merge into the base before quantization")


def check_no_dropout(module: LoraLayer, adapter: str) -> None:
    """Raise ValueError if the adapter has dropout or a bias; otherwise let the layer keep its input's type."""
    if module.lora_bias[adapter]:
        raise ValueError("memory-efficient layers do not support adapters with a bias")
    if not isinstance(module.lora_dropout[adapter], torch.nn.Identity):
        raise ValueError("memory-efficient layers do not support adapters with dropout")
    module.cast_input_dtype_enabled = False


def _rows(x: Tensor) -> Tensor:
    """Return x with all dimensions but the last flattened."""
    return x.reshape(-1, x.shape[-1])


class _AddLowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor, a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, a_RI, b_OR)
        ctx.scale = scale
        ctx.mark_dirty(z)
        h = F.linear(_rows(x), a_RI.to(x.dtype))
        z.view(-1, z.shape[-1]).addmm_(h, b_OR.to(x.dtype).t(), alpha=scale)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, a_RI, b_OR = ctx.saved_tensors
        a, b, g, flat = a_RI.to(x.dtype), b_OR.to(x.dtype), _rows(grad), _rows(x)
        inner = ctx.scale * (g @ b)  # (…, R)
        grad_x = (inner @ a).view_as(x) if ctx.needs_input_grad[1] else None
        grad_a = (inner.t() @ flat).to(a_RI.dtype)
        grad_b = (ctx.scale * (g.t() @ (flat @ a.t()))).to(b_OR.dtype)
        return grad, grad_x, grad_a, grad_b, None


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, magnitude_O: Tensor, norm_O: Tensor) -> Tensor:
        change_O = (magnitude_O / norm_O - 1).to(z.dtype)
        ctx.mark_dirty(z)
        z.addcmul_(z, change_O)
        ctx.save_for_backward(z, magnitude_O, change_O)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, magnitude_O, change_O = ctx.saved_tensors
        product_O = (_rows(grad) * _rows(y)).sum(0, dtype=magnitude_O.dtype)
        grad_magnitude_O = torch.where(magnitude_O == 0, 0.0, product_O / magnitude_O)
        return torch.addcmul(grad, grad, change_O), grad_magnitude_O, None
