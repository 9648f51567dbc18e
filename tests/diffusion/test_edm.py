"""Predict 2's formulas against values computed by hand in float64, and against rectified flow."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worldtune.diffusion.edm import LOSS_SCALE, flow_time, loss_weight, scalings, training_sigmas
from worldtune.diffusion.flow import interpolate, velocity

SIGMAS = torch.tensor([1e-4, 0.002, 1.0, 3.0, 80.0, 200.0, 1e5], dtype=torch.float64)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_values_by_hand() -> None:
    assert flow_time(tensor(1.0, 3.0, 200.0)).tolist() == [0.5, 0.75, 200 / 201]
    assert [part.item() for part in scalings(tensor(3.0))] == [0.25, -0.75, 0.25, 0.75]
    assert loss_weight(tensor(0.5)).item() == 9.0
    assert LOSS_SCALE == 10


def test_training_draws_by_hand() -> None:
    usual = training_sigmas(tensor(0.0, 1.0, -1.0), tensor(0.5, 0.5, 0.5), tensor(0.05, 0.5, 1.0))
    assert usual.tolist() == pytest.approx([4.898979485566356, 13.316807, 1.802234], rel=1e-6)  # √24·(1, e, 1/e)
    high = training_sigmas(tensor(9.0, 9.0, 9.0), tensor(0.0, 0.5, 1.0), tensor(0.0, 0.049, 0.01))
    assert high.tolist() == pytest.approx([200.0, 4472.13595499958, 100_000.0])  # √(200·100,000) in the middle


@pytest.mark.parametrize("sigma", SIGMAS.tolist())
def test_weighted_loss_of_z_equals_the_velocity_loss(sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    z, noise, output = torch.randn(3, 1, 4, 2, 3, 3, generator=generator, dtype=torch.float64)
    level = tensor(sigma)
    c_skip, c_out, c_in, c_noise = scalings(level)
    x = z + sigma * noise
    assert torch.allclose(c_in * x, interpolate(z, noise, c_noise), rtol=0, atol=1e-9)
    denoised = c_skip * x + c_out * output
    weighted = loss_weight(level) * (denoised - z).square()
    assert torch.allclose(weighted, (output - velocity(z, noise)).square(), rtol=1e-5, atol=1e-5)


@given(st.floats(1e-4, 1e5))
def test_edm_level_is_on_the_flow_path(sigma: float) -> None:
    t = flow_time(tensor(sigma)).item()
    assert 0 < t < 1
    assert t / (1 - t) == pytest.approx(sigma, rel=1e-6)
    assert loss_weight(tensor(sigma)).item() == pytest.approx(1 / t**2)
