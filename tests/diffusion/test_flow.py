import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worldtune.diffusion.flow import interpolate, shifted_logit_normal, velocity

SIGMAS = st.floats(0, 1, width=32)
NORMALS = st.floats(-8, 8, width=32)


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z_BCTHW, noise_BCTHW = torch.randn(2, 2, 3, 2, 4, 4, generator=generator)
    return z_BCTHW, noise_BCTHW


def test_path_by_hand() -> None:
    z_BCTHW, noise_BCTHW = torch.full((2, 1, 1, 1, 1), 3.0), torch.full((2, 1, 1, 1, 1), -5.0)
    x_BCTHW = interpolate(z_BCTHW, noise_BCTHW, torch.tensor([0.25, 0.9]))
    assert x_BCTHW.flatten().tolist() == pytest.approx([1.0, -4.2])
    assert velocity(z_BCTHW, noise_BCTHW).flatten().tolist() == [-8.0, -8.0]


@given(SIGMAS, SIGMAS)
def test_velocity_connects_points_of_the_path(first: float, second: float) -> None:
    z_BCTHW, noise_BCTHW = pair()
    start, end = (interpolate(z_BCTHW, noise_BCTHW, torch.tensor([s, s])) for s in (first, second))
    assert torch.allclose(start + (second - first) * velocity(z_BCTHW, noise_BCTHW), end, atol=1e-5)


def test_path_goes_from_data_to_noise() -> None:
    z_BCTHW, noise_BCTHW = pair()
    x_BCTHW = interpolate(z_BCTHW, noise_BCTHW, torch.tensor([0.0, 1.0]))
    assert torch.equal(x_BCTHW[0], z_BCTHW[0])
    assert torch.equal(x_BCTHW[1], noise_BCTHW[1])


@given(NORMALS, st.floats(0.5, 10))
def test_noise_levels_against_float64(normal: float, shift: float) -> None:
    u = 1 / (1 + math.exp(-normal))
    expected = shift * u / (1 + (shift - 1) * u)
    assert shifted_logit_normal(torch.tensor([normal]), shift).item() == pytest.approx(expected, rel=1e-5)


def test_noise_levels_have_the_published_distribution() -> None:
    """Predict 2.5's levels have the mean 0.794, and the 5th, 50th and 95th percentiles 0.49, 0.83 and 0.96."""
    normal_B = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    sigma_B = shifted_logit_normal(normal_B, 5.0).double().numpy()
    assert sigma_B.mean() == pytest.approx(0.794, abs=2e-3)
    assert np.percentile(sigma_B, [5, 50, 95]) == pytest.approx([0.49, 0.833, 0.963], abs=4e-3)


@given(NORMALS, NORMALS)
def test_noise_level_increases_with_the_draw(first: float, second: float) -> None:
    low, high = sorted((first, second))
    sigmas = shifted_logit_normal(torch.tensor([low, high]), 5.0)
    assert 0 < sigmas[0] <= sigmas[1] < 1
