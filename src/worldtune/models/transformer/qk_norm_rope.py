"""The root-mean-square norm of queries and keys, and their rotary positions, with little saved for backward.

Saved are the input, in its own type, and one factor per head and token; diffusers' form also saves the input in fp32.
The norm's weight must be frozen; if it is trained, the plain form is used. Forward gives the same bits.

Shapes: B clips, H heads, N tokens, E a head's width.
Source: diffusers `models/normalization.py` (`RMSNorm`); arXiv:1910.07467.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def qk_norm(norm: nn.Module, x_BHNE: Tensor) -> Tensor:
    """Return norm(x)."""
    if _is_plain(norm):
        return norm(x_BHNE)
    return _QkNorm.apply(x_BHNE, norm.weight, norm.eps)  # type: ignore[no-untyped-call]


def qk_norm_rope(norm: nn.Module, x_BHNE: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """Return norm(x) with rotary positions."""
    if _is_plain(norm):
        return apply_rope(norm(x_BHNE), cos_NE, sin_NE)
    return _QkNormRope.apply(x_BHNE, norm.weight, norm.eps, cos_NE, sin_NE)  # type: ignore[no-untyped-call]


def apply_rope(x_BHNE: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """Return x with rotary positions applied in fp32: feature e turns with e + E/2; half of diffusers' passes."""
    real, imag = x_BHNE.chunk(2, -1)
    (cos, cos_imag), (sin, sin_imag) = cos_NE.chunk(2, -1), sin_NE.chunk(2, -1)
    rotated = torch.addcmul(real * cos, imag, sin, value=-1), torch.addcmul(imag * cos_imag, real, sin_imag)
    return torch.cat(rotated, -1).to(x_BHNE.dtype)


def _rope_backward(grad_BHNE: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """Return the gradient before `apply_rope`, by its transpose."""
    real, imag = grad_BHNE.chunk(2, -1)
    (cos, cos_imag), (sin, sin_imag) = cos_NE.chunk(2, -1), sin_NE.chunk(2, -1)
    back = torch.addcmul(real * cos, imag, sin_imag), torch.addcmul(imag * cos_imag, real, sin, value=-1)
    return torch.cat(back, -1).to(grad_BHNE.dtype)


def _is_plain(norm: nn.Module) -> bool:
    trained = norm.weight.requires_grad or not torch.is_grad_enabled()
    return bool(trained or torch.compiler.is_compiling())


def _forward(x: Tensor, weight_E: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return w·x·r and r = 1/√(mean of x² + eps), one factor per head and token, which is fp32 for any type of x."""
    whole = x.float()
    factor = torch.rsqrt(whole.square().mean(-1, keepdim=True) + eps)
    return (x * factor).to(weight_E.dtype) * weight_E, factor


def _backward(grad: Tensor, x: Tensor, weight_E: Tensor, factor: Tensor) -> Tensor:
    """Return r·(g·w − n·mean(g·w·n)) with n = r·x."""
    n = x * factor
    g = (grad * weight_E).to(n.dtype)
    shared = torch.linalg.vecdot(g, n).unsqueeze(-1) / x.shape[-1]
    return torch.addcmul(g, n, shared, value=-1).mul_(factor).to(x.dtype)


class _QkNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_E: Tensor, eps: float) -> Tensor:
        y, factor = _forward(x, weight_E, eps)
        ctx.save_for_backward(x, weight_E, factor)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _backward(grad, *ctx.saved_tensors), None, None


class _QkNormRope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_E: Tensor, eps: float, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
        y, factor = _forward(x, weight_E, eps)
        ctx.save_for_backward(x, weight_E, factor, cos_NE, sin_NE)
        return apply_rope(y, cos_NE, sin_NE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_E, factor, cos_NE, sin_NE = ctx.saved_tensors
        return _backward(_rope_backward(grad, cos_NE, sin_NE), x, weight_E, factor), None, None, None, None
