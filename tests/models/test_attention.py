"""Attention with whole scores against PyTorch's attention."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from worldtune.models.attention import FEW, KeptAttention, _Keeping, attend

SIZES = st.integers(1, 40)
BF16 = 2**-6  # relative to the largest value: several roundings of 2⁻⁹ each


def heads(tokens: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, tokens, 3, width, generator=generator).transpose(1, 2).bfloat16().requires_grad_()


def exact(*parts: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(*(part.double() for part in parts))


@settings(deadline=None, max_examples=25)
@given(SIZES, SIZES, SIZES, st.integers(0, 99))
def test_few_bf16_queries_and_gradients_are_near_float64(n: int, m: int, e: int, seed: int) -> None:
    parts = heads(n, e, seed), heads(m, e, seed + 1), heads(m, e, seed + 2)
    given_BHNE = heads(n, e, seed + 3).detach()
    mine, true = attend(*parts), exact(*parts)
    assert mine.dtype == torch.bfloat16
    found = (mine, *torch.autograd.grad(mine, parts, given_BHNE))
    expected = (true, *torch.autograd.grad(true, parts, given_BHNE.double()))
    scale = max(tensor.abs().max().item() for tensor in expected)
    for tensor, its in zip(found, expected, strict=True):
        assert (tensor - its).abs().max() <= BF16 * scale


@pytest.mark.parametrize(("queries", "dtype", "own"), [
    (FEW, torch.bfloat16, True), (FEW + 1, torch.bfloat16, False), (FEW, torch.float32, False),
])  # fmt: skip
def test_many_queries_and_other_types_use_pytorch(queries: int, dtype: torch.dtype, own: bool) -> None:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        attend(*(heads(n, 16, n).to(dtype) for n in (queries, 12, 12)))
    called = {event.key for event in profiler.key_averages()}
    assert ("aten::scaled_dot_product_attention" not in called) is own


def test_kept_results_are_reused() -> None:
    parts = [heads(8, 16, n).detach() for n in range(3)]
    kept: list[Any] = []
    with KeptAttention(kept, again=False):
        out = attend(*parts)
    assert len(kept) == 1
    with KeptAttention(kept, again=True):
        assert attend(*parts).equal(out)
    assert not kept
    assert (attend(*parts) - out).abs().max() < BF16


def test_only_self_attention_passes_through_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every operation did, a step on an H200 would wait for Python: 3.7 s instead of 2.9 s."""
    queries, keys, values = (heads(8, 16, n).detach() for n in range(3))
    seen: list[Any] = []
    through = _Keeping.__torch_dispatch__

    def watched(self: _Keeping, func: Any, *others: Any) -> Any:
        seen.append(func)
        return through(self, func, *others)

    monkeypatch.setattr(_Keeping, "__torch_dispatch__", watched)
    with KeptAttention([], again=False):
        attend((2 * queries).tanh(), keys, values)
        attend(queries, keys[:, :, :5], values[:, :, :5])
    assert [func.name().partition(".")[0] for func in seen] == ["aten::_scaled_dot_product_flash_attention_for_cpu"]
