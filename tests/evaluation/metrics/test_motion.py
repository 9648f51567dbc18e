import numpy as np
import pytest

from worldtune.evaluation.metrics.motion import motion_amount, motion_ratio

from ..clips import moving_square


def test_motion_amount_is_the_mean_absolute_step() -> None:
    clip = np.zeros((3, 16, 16, 3), np.uint8)
    clip[1], clip[2] = 30, 10
    assert motion_amount(clip) == pytest.approx((30 + 20) / 2)


def test_ratio_is_zero_for_frozen_and_one_for_equal_videos() -> None:
    reference = moving_square(3)
    frozen = np.broadcast_to(reference[:1], reference.shape)
    assert motion_ratio(frozen, reference) == 0
    assert motion_ratio(reference, reference) == 1
    slow = motion_ratio(moving_square(3, lag=0.7), reference)
    assert slow is not None
    assert 0.1 < slow < 0.8


def test_ratio_is_none_if_the_reference_stands_still() -> None:
    still = np.full((3, 16, 16, 3), 7, np.uint8)
    assert motion_ratio(moving_square(0, frames=3)[:, :16, :16], still) is None
