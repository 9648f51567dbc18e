import numpy as np
import pytest

from worldtune.evaluation.metrics.background import background_drift, still_pixels

from ..clips import SQUARE, features, moving_square
from ..grounds import panned, textured


def test_background_pixels_never_change_in_the_real_video() -> None:
    real = moving_square(1)
    still_HW = still_pixels(features(real))
    assert still_HW is not None
    assert 1 - len(real) * SQUARE**2 / still_HW.size < still_HW.mean() < 1 - SQUARE**2 / still_HW.size


def test_drift_is_in_levels_and_ignores_moving_objects() -> None:
    real = moving_square(2)
    assert background_drift(features(real), features(real)) == 0
    brighter = real.copy()
    brighter[1:] = np.minimum(brighter[1:].astype(int) + 9, 255)
    assert background_drift(features(brighter), features(real)) == pytest.approx(9, abs=0.5)
    assert background_drift(features(moving_square(2, lag=0.5)), features(real)) == pytest.approx(0, abs=0.05)


def test_a_moving_camera_has_no_background() -> None:
    moving = features(panned(textured(64, 64), [(3 * t, 0) for t in range(6)]))
    assert still_pixels(moving) is None
    assert background_drift(moving, moving) is None
