"""The root-mean-square norm of queries and keys, and their rotary positions, keeping for backward what it needs.

That is the input, in its own type, and one factor for each head and token; diffusers' form keeps the input in fp32 as
well. The norm's weight is frozen; where it is trained the plain form is taken. Forward gives the same bits.

Shapes: B clips, H heads, N tokens, E a head's width.
Source: diffusers `models/normalization.py` (`RMSNorm`); arXiv:1910.07467.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def normed(norm: nn.Module, x_BHNE: Tensor) -> Tensor:
    """norm(x)."""
    if _is_plain(norm):
        return norm(x_BHNE)
    return _Normed.apply(x_BHNE, norm.weight, norm.eps)  # type: ignore[no-untyped-call]


def turned(norm: nn.Module, x_BHNE: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """norm(x) at its positions."""
    if _is_plain(norm):
        return rotated(norm(x_BHNE), cos_NE, sin_NE)
    return _Turned.apply(x_BHNE, norm.weight, norm.eps, cos_NE, sin_NE)  # type: ignore[no-untyped-call]


def rotated(x_BHNE: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """Rotary positions, in fp32: feature e turns with feature e + E/2. Half the passes of diffusers' form."""
    real, imag = x_BHNE.chunk(2, -1)
    (cos, cos_imag), (sin, sin_imag) = cos_NE.chunk(2, -1), sin_NE.chunk(2, -1)
    turned = torch.addcmul(real * cos, imag, sin, value=-1), torch.addcmul(imag * cos_imag, real, sin_imag)
    return torch.cat(turned, -1).to(x_BHNE.dtype)


def _turned_back(grad_BHNE: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """The gradient before `rotated`: its transpose."""
    real, imag = grad_BHNE.chunk(2, -1)
    (cos, cos_imag), (sin, sin_imag) = cos_NE.chunk(2, -1), sin_NE.chunk(2, -1)
    back = torch.addcmul(real * cos, imag, sin_imag), torch.addcmul(imag * cos_imag, real, sin, value=-1)
    return torch.cat(back, -1).to(grad_BHNE.dtype)


def _is_plain(norm: nn.Module) -> bool:
    trained = norm.weight.requires_grad or not torch.is_grad_enabled()
    return bool(trained or torch.compiler.is_compiling())


def _forward(x: Tensor, weight_E: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """w·x/√(mean of x² + eps), and that factor of every head and token, which is in fp32 whatever x is in."""
    whole = x.float()
    factor = torch.rsqrt(whole.square().mean(-1, keepdim=True) + eps)
    return (x * factor).to(weight_E.dtype) * weight_E, factor


def _backward(grad: Tensor, x: Tensor, weight_E: Tensor, factor: Tensor) -> Tensor:
    """r·(g·w − n·mean(g·w·n)) with n = r·x."""
    n = x * factor
    g = (grad * weight_E).to(n.dtype)
    shared = torch.linalg.vecdot(g, n).unsqueeze(-1) / x.shape[-1]
    return torch.addcmul(g, n, shared, value=-1).mul_(factor).to(x.dtype)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_E: Tensor, eps: float) -> Tensor:
        y, factor = _forward(x, weight_E, eps)
        ctx.save_for_backward(x, weight_E, factor)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _backward(grad, *ctx.saved_tensors), None, None


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_E: Tensor, eps: float, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
        y, factor = _forward(x, weight_E, eps)
        ctx.save_for_backward(x, weight_E, factor, cos_NE, sin_NE)
        return rotated(y, cos_NE, sin_NE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_E, factor, cos_NE, sin_NE = ctx.saved_tensors
        return _backward(_turned_back(grad, cos_NE, sin_NE), x, weight_E, factor), None, None, None, None
