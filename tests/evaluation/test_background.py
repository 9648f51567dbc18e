import numpy as np
import pytest

from worldtune.evaluation.metrics.background import background, background_drift

from .clips import SQUARE, film, moving_square
from .grounds import panned, textured


def test_background_is_what_the_real_video_leaves_as_it_is() -> None:
    real = moving_square(1)
    still_HW = background(film(real))
    assert still_HW is not None
    assert 1 - len(real) * SQUARE**2 / still_HW.size < still_HW.mean() < 1 - SQUARE**2 / still_HW.size


def test_drift_is_in_levels_and_of_the_background_alone() -> None:
    real = moving_square(2)
    assert background_drift(film(real), film(real)) == 0
    brighter = real.copy()
    brighter[1:] = np.minimum(brighter[1:].astype(int) + 9, 255)
    assert background_drift(film(brighter), film(real)) == pytest.approx(9, abs=0.5)
    assert background_drift(film(moving_square(2, lag=0.5)), film(real)) == pytest.approx(0, abs=0.05)


def test_a_camera_that_moves_has_none() -> None:
    moves = film(panned(textured(64, 64), [(3 * t, 0) for t in range(6)]))
    assert background(moves) is None
    assert background_drift(moves, moves) is None
