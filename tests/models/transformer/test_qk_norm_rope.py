"""The memory-efficient norm against diffusers': the same bits forward, the same gradient, fewer saved tensors.

diffusers takes the mean square in fp32, in float64 too: hence the tolerance there.
"""

import pytest
import torch
from diffusers.models.normalization import RMSNorm
from torch import Tensor

from worldtune.models.transformer.qk_norm_rope import apply_rope, qk_norm, qk_norm_rope

EPS = 1e-6


def make(dtype: torch.dtype) -> tuple[RMSNorm, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(8, eps=EPS).to(dtype).requires_grad_(False)
    norm.weight.copy_(1 + 0.2 * torch.randn(8, generator=generator).to(dtype))
    x_BHNE = (3 * torch.randn(2, 3, 5, 8, generator=generator)).to(dtype).requires_grad_()
    angle_NE = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    exact = dtype if dtype == torch.float64 else torch.float32
    return norm, x_BHNE, angle_NE.cos().to(exact), angle_NE.sin().to(exact)


def gradient(y: Tensor, x: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
    return torch.autograd.grad(y, x, weights)[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("placed", [False, True])
def test_norm_equals_diffusers(dtype: torch.dtype, tolerance: float, placed: bool) -> None:
    norm, x, cos, sin = make(dtype)
    ours = qk_norm_rope(norm, x, cos, sin) if placed else qk_norm(norm, x)
    plain = apply_rope(norm(x), cos, sin) if placed else norm(x)
    assert torch.equal(ours, plain)
    torch.testing.assert_close(gradient(ours, x), gradient(plain, x), rtol=tolerance, atol=tolerance)


def test_the_input_is_saved_once_and_not_in_fp32() -> None:
    norm, x, cos, sin = make(torch.bfloat16)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        qk_norm_rope(norm, x, cos, sin)
    large = [tensor for tensor in kept if tensor.numel() >= x.numel()]
    assert [tensor.data_ptr() for tensor in large] == [x.data_ptr()]


def test_a_trained_weight_gets_its_gradient() -> None:
    norm, x, cos, sin = make(torch.float32)
    norm.requires_grad_(True)
    (ours,) = torch.autograd.grad(qk_norm_rope(norm, x, cos, sin).square().sum(), norm.weight)
    (plain,) = torch.autograd.grad(apply_rope(norm(x), cos, sin).square().sum(), norm.weight)
    torch.testing.assert_close(ours, plain)
    assert plain.abs().min() > 1
