"""An adapter's part of a frozen linear layer, saving for backward what backward needs and nothing else.

y = z + s·(x Aᵀ) Bᵀ is added into z = W x, which the frozen layer needs no more; backward needs x, which the layer's
input is anyway, and computes h = x Aᵀ again, R wide. DoRA's y = c ⊙ z needs its own output y, which the next operation
mostly keeps. A and B are fp32 and enter the products in the base's precision, as under autocast.

Shapes: (..., I) inputs, (..., O) outputs, R rank.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor
from torch.autograd.function import once_differentiable

from worldtune.adapters.base_weight import is_quantised
from worldtune.adapters.start import factors


def add_low_rank(z: Tensor, x: Tensor, a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
    """z + scale·(x Aᵀ) Bᵀ in the type of z, which it may overwrite."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # which fuses the plain form itself
        return _AddLowRank.apply(z, x, a_RI, b_OR, scale)  # type: ignore[no-untyped-call]
    h = F.linear(x, a_RI.to(x.dtype)).flatten(0, -2)
    return torch.addmm(z.flatten(0, -2), h, b_OR.to(x.dtype).t(), alpha=scale).view_as(z)


def rescale(z: Tensor, magnitude_O: Tensor, norm_O: Tensor) -> Tensor:
    """z·m/n in the type of z, which it may overwrite; n is a constant in backpropagation.

    It is z + (m/n − 1)·z: a scale near 1 loses nothing in bf16, and a scale of 1 changes no bit. Backward has m's
    gradient from the output, as Σ grad·y/m: where m is exactly 0 it is taken as 0.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # which fuses the plain form itself
        return _Rescale.apply(z, magnitude_O, norm_O)  # type: ignore[no-untyped-call]
    return torch.addcmul(z, z, (magnitude_O / norm_O - 1).to(z.dtype))


class LeanLora(LoraVariant):  # type: ignore[misc]
    """peft's LoRA on one linear layer, its forward replaced. Dropout is refused."""

    def __init__(self, module: LoraLayer, adapter: str) -> None:
        refuse_dropout(module, adapter)

    def forward(self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        """The layer's output (..., O) from its input and the base layer's output `result`."""
        return add_low_rank(result, x, *factors(module, active_adapter), module.scaling[active_adapter])

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight + _change(module, active_adapter, orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        orig_weight.data += _change(module, active_adapter, orig_weight.dtype)

    @staticmethod
    def unmerge(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight - _change(module, active_adapter, orig_weight.dtype)


def _change(module: LoraLayer, adapter: str, dtype: torch.dtype) -> Tensor:
    refuse_quantised(module)
    a_RI, b_OR = factors(module, adapter)
    return (module.scaling[adapter] * (b_OR @ a_RI)).to(dtype)


def refuse_quantised(module: LoraLayer) -> None:
    """Raises ValueError where the weight is made anew for each product: what is written into it would be lost."""
    if is_quantised(module.get_base_layer()):
        raise ValueError("nothing can be merged into a quantised weight: merge into the base as it was")


def refuse_dropout(module: LoraLayer, adapter: str) -> None:
    """Raises ValueError where the input would be dropped out, and lets the layer's input be in its own type."""
    if not isinstance(module.lora_dropout[adapter], torch.nn.Identity):
        raise ValueError("the lean form is for adapters without dropout")
    module.cast_input_dtype_enabled = False


class _AddLowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor, a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, a_RI, b_OR)
        ctx.scale = scale
        ctx.mark_dirty(z)
        h = F.linear(x, a_RI.to(x.dtype)).flatten(0, -2)
        z.view(-1, z.shape[-1]).addmm_(h, b_OR.to(x.dtype).t(), alpha=scale)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, a_RI, b_OR = ctx.saved_tensors
        a, b, g, flat = a_RI.to(x.dtype), b_OR.to(x.dtype), grad.flatten(0, -2), x.flatten(0, -2)
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
        product_O = torch.linalg.vecdot(grad.flatten(0, -2), y.flatten(0, -2), dim=0).to(magnitude_O.dtype)
        grad_magnitude_O = torch.where(magnitude_O == 0, 0.0, product_O / magnitude_O)
        return torch.addcmul(grad, grad, change_O), grad_magnitude_O, None
