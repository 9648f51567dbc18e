from typing import Any

import numpy as np
import pytest

from worldtune.evaluation.cases.case import Frames, Track
from worldtune.evaluation.metrics.paths import compare_paths, measure_reader


def test_paths_are_compared_relative_to_their_starting_points() -> None:
    real = np.array([[0, 0], [1, 2], [3, 4]], np.float32)
    same = compare_paths(real + 7, real)
    assert (same.correlation, same.end_point) == (pytest.approx(1), 0)
    half = compare_paths(0.5 * real, real)
    assert half.along / half.square == pytest.approx(0.5)
    assert (half.correlation, half.end_point) == (pytest.approx(1), pytest.approx(2.5))
    away = compare_paths(-real, real)
    assert away.along / away.square == pytest.approx(-1)
    stays = compare_paths(0 * real, real)
    assert (stays.correlation, stays.along) == (0, 0), "a path that stays has a value"
    assert compare_paths(real, 0 * real).correlation is None


class LookedUp:
    """A reader that reads the path of a clip off its first pixel."""

    def __init__(self, paths: dict[int, Any]) -> None:
        self._paths = paths

    def read(self, frames_THWC: Frames, /) -> Track:
        return np.array(self._paths[int(frames_THWC[0, 0, 0, 0])], np.float32)


def test_the_accuracy_of_a_reader_is_its_r2_and_the_error_of_its_end_points_by_axis() -> None:
    frames = [np.full((2, 1, 1, 3), clip, np.uint8) for clip in (0, 1)]
    true = [np.array([[0, 0], [4, 0]], np.float32), np.array([[0, 0], [0, 2]], np.float32)]
    exact = measure_reader(LookedUp(dict(enumerate(true))), frames, true)
    assert (exact.r2, exact.end_point_error) == (1, (0, 0))
    wrong = measure_reader(LookedUp({0: [[1, 1], [5, 1]], 1: [[0, 0], [2, 2]]}), frames, true)
    assert wrong.end_point_error == pytest.approx((2 / np.sqrt(2), 0)), (
        "a constant offset is no error of a displacement"
    )
    assert wrong.r2 == pytest.approx(1 - (1 + 1 + 1 + 1 + 4) / (12 + 3)), "but it is an error of the positions"
