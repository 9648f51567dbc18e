"""End points about their mean over the layouts of a task."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.evaluation.metrics.end_points import EndPointStatistics, end_point_statistics, end_point_terms

SHARED = np.array([[300.0, 0, -50], [0, -400, 20]])  # mm: the motion that all layouts of a task share
GROUPS = ["slide"] * 12 + ["press"] * 8


def end_points(seed: int = 0) -> np.ndarray:
    """Return the end points (20, 3) of two tasks, in mm, which deviate from their means by about 40 mm."""
    deviation_ND = 40 * np.random.default_rng(seed).standard_normal((20, 3))
    return SHARED[[0] * 12 + [1] * 8] + deviation_ND


def pull(true_ND: np.ndarray, share: float) -> np.ndarray:
    """Return end points whose deviations from the mean of their task are scaled by `share`."""
    tasks = np.array(GROUPS)
    means_ND = np.stack([true_ND[tasks == task].mean(0) for task in GROUPS])
    return means_ND + share * (true_ND - means_ND)


def distance(true_ND: np.ndarray) -> float:
    """Return the mean distance from the mean of the task."""
    return float(np.linalg.norm(true_ND - pull(true_ND, 0), axis=1).mean())


def displacement_slope(read_ND: np.ndarray, true_ND: np.ndarray) -> float:
    return float((read_ND * true_ND).sum() / (true_ND * true_ND).sum())


def test_identical_end_points_have_slope_1_and_no_error() -> None:
    statistics = end_point_statistics(end_points(), end_points(), GROUPS)
    assert statistics.slope == pytest.approx(1)
    assert statistics.slope_by_axis == pytest.approx((1, 1, 1))
    assert (statistics.error, statistics.error_over_spread, statistics.clips, statistics.groups) == (0, 0, 20, 2)


@given(st.floats(-1, 2), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_the_slope_is_the_scale_of_the_deviations(share: float, seed: int) -> None:
    true_ND = end_points(seed)
    statistics = end_point_statistics(pull(true_ND, share), true_ND, GROUPS)
    assert statistics.slope == pytest.approx(share, abs=1e-9)
    assert statistics.slope_by_axis == pytest.approx((share,) * 3, abs=1e-9)
    assert statistics.error is not None
    assert statistics.error == pytest.approx(abs(1 - share) * distance(true_ND), abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.26, 0.5])
def test_the_slope_of_displacements_does_not_see_a_pull_to_the_mean(share: float) -> None:
    true_ND = end_points()
    assert displacement_slope(pull(true_ND, share), true_ND) > 0.95
    assert end_point_statistics(pull(true_ND, share), true_ND, GROUPS).slope == pytest.approx(share, abs=1e-9)


def test_the_spread_does_not_depend_on_the_number_of_clips() -> None:
    """The corrected mean distance of normal end points is σ √(8/π) in three axes, also in tasks of three clips."""
    true_ND = 40 * np.random.default_rng(2).standard_normal((3000, 3))
    for clips in (3, 10, 1000):
        groups = [str(index // clips) for index in range(3000)]
        statistics = end_point_statistics(0 * true_ND, true_ND, groups)
        assert statistics.spread == pytest.approx(40 * np.sqrt(8 / np.pi), rel=0.02)
        assert statistics.error_over_spread == pytest.approx(1, rel=0.02), "all motions end at the population's mean"


def test_shifts_do_not_change_the_slope() -> None:
    true_ND = end_points()
    read_ND = pull(true_ND, 0.7) + 5 * np.random.default_rng(1).standard_normal(true_ND.shape)
    plain = end_point_statistics(read_ND, true_ND, GROUPS)
    shifted = end_point_statistics(read_ND + np.array([70, -30, 5]), true_ND + np.array([1000, 0, -200]), GROUPS)
    assert shifted.slope == pytest.approx(plain.slope)
    assert shifted.slope_by_axis == pytest.approx(plain.slope_by_axis)
    assert shifted.spread == pytest.approx(plain.spread)
    both = end_point_statistics(read_ND + 9, true_ND + 9, GROUPS)
    assert both.error_over_spread == pytest.approx(plain.error_over_spread)


def test_each_task_has_its_own_mean() -> None:
    true_ND = end_points()
    swapped = end_point_statistics(pull(true_ND, 0) + 100 * (np.array(GROUPS) == "press")[:, None], true_ND, GROUPS)
    assert swapped.slope == pytest.approx(0, abs=1e-12), "a difference between tasks is no difference between layouts"
    one_task = end_point_statistics(pull(true_ND, 0), true_ND, ["any"] * 20)
    assert one_task.slope is not None
    assert one_task.slope > 0.9


def test_a_single_case_of_a_task_has_no_slope() -> None:
    nothing = EndPointStatistics(None, (None, None), None, None, None, 0, 0)
    assert end_point_statistics([[1, 2]], [[3, 4]], ["a"]) == nothing
    assert end_point_statistics([[1, 2], [3, 4]], [[3, 4], [5, 6]], ["a", "b"]) == nothing
    among_others = end_point_statistics([[0, 0], [1, 1], [99, 99]], [[0, 0], [2, 2], [0, 0]], ["a", "a", "b"])
    assert (among_others.slope, among_others.clips, among_others.groups) == (0.5, 2, 1)
    assert among_others.error == pytest.approx(np.sqrt(2) / 2), "the single case of b does not count"


def test_an_axis_that_does_not_vary_has_no_slope() -> None:
    true_ND = np.array([[0.0, 5, 1], [10, 5, 2], [20, 5, 1]])
    halved_ND = np.array([[5.0, 5, 7], [10, 5, 1], [15, 5, -9]])
    statistics = end_point_statistics(halved_ND, true_ND, ["a"] * 3, min_spread_D=[1, 1, 1])
    assert statistics.slope == pytest.approx(0.5), "z varies less than the reader's error"
    assert statistics.slope_by_axis == (0.5, None, None)
    assert end_point_statistics(halved_ND, true_ND, ["a"] * 3, min_spread_D=9).slope is None
    assert end_point_statistics(halved_ND, true_ND, ["a"] * 3).slope_by_axis[1] is None, "equal end points never vary"


def test_an_axis_counts_only_in_the_tasks_in_which_it_varies() -> None:
    true_ND = np.array([[0.0, 0], [10, 0], [0.0, 0], [0, 10]])
    terms = end_point_terms(true_ND * [1, 0.2], true_ND, ["x", "x", "y", "y"], min_spread_D=1)
    assert terms.square_ND.tolist() == [[25, 0], [25, 0], [0, 25], [0, 25]]
    assert end_point_statistics(true_ND * [1, 0.2], true_ND, ["x", "x", "y", "y"], 1).slope_by_axis == (1, 0.2)


def test_one_axis_gives_the_slope_of_a_linear_regression() -> None:
    rng = np.random.default_rng(3)
    true_N = 200 + 50 * rng.standard_normal(30)
    read_N = 17 + 0.6 * true_N + 8 * rng.standard_normal(30)
    statistics = end_point_statistics(read_N[:, None], true_N[:, None], ["a"] * 30)
    assert statistics.slope == pytest.approx(np.polyfit(true_N, read_N, 1)[0])
    assert statistics.spread == pytest.approx(np.abs(true_N - true_N.mean()).mean() * np.sqrt(30 / 29))


@pytest.mark.parametrize(
    ("read", "true", "groups", "message"),
    [
        ([[1.0]], [[1.0, 2.0]], ["a"], "shapes"),
        ([[1.0]], [[1.0]], ["a", "b"], "for 2 clips"),
        (np.zeros((0, 3)), np.zeros((0, 3)), [], "for 0 clips"),
        ([[np.nan]], [[1.0]], ["a"], "NaN"),
        ([[1.0]], [[np.inf]], ["a"], "NaN"),
    ],
)
def test_bad_end_points_are_an_error(read: object, true: object, groups: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        end_point_statistics(read, true, groups)  # type: ignore[arg-type]
