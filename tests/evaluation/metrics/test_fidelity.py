import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from worldtune.evaluation.metrics.fidelity import (
    moving_pixels,
    moving_psnr,
    psnr,
    psnr_from_mse,
    ssim,
    ssim_by_frame,
)

from ..clips import moving_square

CEILING = 10 * math.log10(255**2 * 12)


def still(value: int, frames: int = 3, side: int = 16) -> np.ndarray:
    return np.full((frames, side, side, 3), value, np.uint8)


def test_psnr_of_a_known_error() -> None:
    assert psnr(still(110), still(100)) == pytest.approx(10 * math.log10(255**2 / 100))


def test_psnr_ignores_the_first_frame() -> None:
    generated = still(100)
    generated[0] = 255
    assert psnr(generated, still(100)) == pytest.approx(CEILING)


def test_psnr_averages_the_error_not_the_decibels() -> None:
    generated = still(100)
    generated[1], generated[2] = 110, 130
    assert psnr(generated, still(100)) == pytest.approx(10 * math.log10(255**2 / ((100 + 900) / 2)))


def test_different_shapes_are_an_error() -> None:
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match="shapes differ"):
            metric(still(1, frames=4), still(1, frames=3))


@given(hnp.arrays(np.uint8, (2, 12, 13, 3)), hnp.arrays(np.uint8, (2, 12, 13, 3)))
def test_psnr_and_ssim_are_symmetric_and_bounded(x_THWC: np.ndarray, y_THWC: np.ndarray) -> None:
    assert psnr(x_THWC, y_THWC) == psnr(y_THWC, x_THWC)
    assert 0 <= psnr(x_THWC, y_THWC) <= CEILING + 1e-9
    assert ssim(x_THWC, y_THWC) == pytest.approx(ssim(y_THWC, x_THWC))
    assert -1 <= ssim(x_THWC, y_THWC) <= 1 + 1e-12


@given(st.floats(1e-3, 65025), st.floats(1.01, 10))
def test_a_larger_error_never_scores_higher(mse: float, times: float) -> None:
    assert psnr_from_mse(mse * times) <= psnr_from_mse(mse)


def test_ssim_of_one_window_by_hand() -> None:
    """A picture of 11×11 pixels has one window, so the definition of Wang et al. 2004 can be summed directly."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 2, 11, 11, 3), dtype=np.uint8)
    places = np.arange(11) - 5
    bell = np.exp(-(places**2) / (2 * 1.5**2))
    weight = np.outer(bell, bell)[..., None] / bell.sum() ** 2
    a, b = x[1].astype(float), y[1].astype(float)
    mean_a, mean_b = (weight * a).sum((0, 1)), (weight * b).sum((0, 1))
    variance_a, variance_b = (weight * (a - mean_a) ** 2).sum((0, 1)), (weight * (b - mean_b) ** 2).sum((0, 1))
    covariance = (weight * (a - mean_a) * (b - mean_b)).sum((0, 1))
    c1, c2 = 2.55**2, 7.65**2
    expected = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    assert ssim_by_frame(x, y) == pytest.approx([expected.mean()], rel=1e-9)


def test_ssim_is_one_for_equal_clips_and_falls_with_noise() -> None:
    clip = moving_square(0)
    assert ssim(clip, clip) == pytest.approx(1.0)
    assert ssim(moving_square(0, noise=5), clip) > ssim(moving_square(0, noise=20), clip)


def test_ssim_of_frames_smaller_than_its_window_is_an_error() -> None:
    with pytest.raises(ValueError, match="11×11"):
        ssim(still(1, side=10), still(1, side=10))


def test_moving_pixels_differ_from_the_first_frame() -> None:
    reference = still(100)
    reference[1, 2, 3, 1] = 126
    reference[2, 4, 5, 0] = 125
    moved = moving_pixels(reference)
    assert moved.shape == (2, 16, 16)
    assert [tuple(index) for index in np.argwhere(moved)] == [(0, 2, 3)]


def test_moving_psnr_scores_only_the_moving_pixels() -> None:
    reference, generated = still(100), still(100)
    reference[1, 2, 3] = 200
    generated[1, 2, 3] = 190
    generated[2] = 0
    assert moving_psnr(generated, reference) == pytest.approx(psnr_from_mse(100))


def test_moving_psnr_is_none_if_nothing_moves() -> None:
    assert moving_psnr(still(90), still(100)) is None
