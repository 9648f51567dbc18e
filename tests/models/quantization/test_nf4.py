"""NF4 against the paper's construction, and against the nearest value."""

from statistics import NormalDist

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.models.quantization.nf4 import BLOCK, VALUES, decode_nf4, encode_nf4


def test_values_equal_the_paper_s() -> None:
    """Eight quantiles are below zero, nine from zero on, with equal probabilities up to 0.9677083, scaled to ±1."""
    end, normal = 0.9677083, NormalDist()
    above = [normal.inv_cdf(p.item()) for p in torch.linspace(end, 0.5, 9, dtype=torch.float64)[:-1]]
    below = [-normal.inv_cdf(p.item()) for p in torch.linspace(end, 0.5, 8, dtype=torch.float64)[:-1]]
    expected = torch.tensor(sorted([*below, 0.0, *above]), dtype=torch.float64) / above[0]
    torch.testing.assert_close(torch.tensor(VALUES, dtype=torch.float64), expected, rtol=0, atol=1e-5)


@given(seed=st.integers(0, 1000), size=st.floats(1e-6, 1e4), blocks=st.integers(1, 5))
@settings(deadline=None)
def test_every_weight_gets_the_nearest_value(seed: int, size: float, blocks: int) -> None:
    weight = size * torch.randn(blocks, BLOCK, generator=torch.Generator().manual_seed(seed))
    codes, scales_N = encode_nf4(weight)
    made = decode_nf4(codes, scales_N, torch.tensor(VALUES), torch.float32)
    nearest = (weight[..., None] - scales_N[:, None, None] * torch.tensor(VALUES)).abs().amin(-1)
    torch.testing.assert_close((made - weight).abs(), nearest, rtol=1e-4, atol=1e-6 * size)
    assert torch.equal(scales_N, weight.abs().amax(1))
    again, same_N = encode_nf4(made)
    assert torch.equal(again, codes)
    assert torch.equal(same_N, scales_N)


def test_zeros_stay_zero_and_partial_blocks_are_refused() -> None:
    assert not decode_nf4(*encode_nf4(torch.zeros(2, BLOCK)), torch.tensor(VALUES), torch.float32).any()
    with pytest.raises(ValueError, match="does not consist of whole blocks of 64"):
        encode_nf4(torch.randn(3, 20))
