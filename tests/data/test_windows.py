from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.data.windows import (
    find_gap_within,
    find_gaps,
    grid_windows,
    random_windows,
    rates_divide,
    retime,
    retime_uneven,
    stretch_frames,
    surrounding_frames,
)

RATES = st.sampled_from([5, 10, 12.5, 15, 16, 20, 23.976, 24, 25, 30000 / 1001, 30, 50, 60])


@given(st.integers(0, 400), RATES, RATES)
def test_retiming_takes_the_nearest_frames_in_order(frames: int, fps_in: float, fps_out: float) -> None:
    frame_indices = retime(frames, fps_in, fps_out)
    assert frame_indices[:1] == [0] * bool(frames)
    assert frame_indices == sorted(frame_indices)
    assert all(pick < frames for pick in frame_indices)
    for k, pick in enumerate(frame_indices):
        assert abs(pick / fps_in - k / fps_out) <= 0.5 / fps_in + 1e-6


@given(st.integers(0, 400), RATES)
def test_equal_rates_change_nothing(frames: int, fps: float) -> None:
    assert retime(frames, fps, fps) == list(range(frames))


@given(st.integers(1, 400), RATES, RATES)
def test_every_target_time_of_the_episode_is_used(frames: int, fps_in: float, fps_out: float) -> None:
    end = Fraction(fps_out).limit_denominator(1001) / Fraction(fps_in).limit_denominator(1001) * (frames - 1)
    assert len(retime(frames, fps_in, fps_out)) >= end


def test_slower_rate_drops_and_a_faster_one_repeats() -> None:
    assert retime(10, 20, 16) == [0, 1, 3, 4, 5, 6, 8, 9]
    assert retime(3, 10, 20) == [0, 1, 1, 2, 2]


@given(st.integers(0, 300), st.integers(1, 60), st.integers(1, 60))
def test_windows_fit_and_the_remainder_is_real(targets: int, frames: int, stride: int) -> None:
    starts, rest = grid_windows(targets, frames, stride)
    assert starts == [start for start in range(0, targets, stride) if start + frames <= targets]
    shown = {t for start in starts for t in range(start, start + frames)}
    if rest is not None and starts:
        assert rest == starts[-1] + stride
        assert rest + frames > targets
        assert targets - 1 not in shown
    if rest is None:
        assert stride > frames or shown == set(range(targets))


@pytest.mark.parametrize(("targets", "expected"), [(21, ([0], None)), (20, ([], 0)), (42, ([0, 21], None))])
def test_exactly_one_window_is_a_window(targets: int, expected: tuple[list[int], int | None]) -> None:
    assert grid_windows(targets, 21, 21) == expected


def test_grid_windows_return_the_remainder() -> None:
    assert grid_windows(50, 21, 21) == ([0, 21], 42)
    assert grid_windows(50, 21, 10) == ([0, 10, 20], 30)
    assert grid_windows(41, 21, 10) == ([0, 10, 20], None)
    assert grid_windows(25, 21, 40) == ([0], None)


@given(st.integers(2, 300), RATES, RATES, st.floats(-100, 1000))
def test_even_times_are_retimed_as_a_rate_is(frames: int, fps_in: float, fps_out: float, begin: float) -> None:
    times_T = begin + np.arange(frames) / fps_in
    assert retime_uneven(times_T, fps_out) == retime(frames, fps_in, fps_out)


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=60), RATES)
def test_uneven_frames_are_chosen_by_their_times(steps: list[float], fps: float) -> None:
    times_T = np.cumsum([0.0, *steps])
    frame_indices = retime_uneven(times_T, fps)
    assert frame_indices[0] == 0
    assert frame_indices == sorted(frame_indices)
    for k, pick in enumerate(frame_indices):
        assert abs(times_T[pick] - k / fps) <= np.abs(times_T - k / fps).min() + 1e-8
    assert len(frame_indices) / fps >= times_T[-1]


def test_video_of_one_frame_has_one_frame() -> None:
    assert retime_uneven(np.array([3.0]), 16) == [0]
    assert find_gaps(np.array([3.0])) == []


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 50), st.integers(0, 9))
def test_random_windows_fit_and_are_as_many_as_possible(targets: int, frames: int, draws: int, seed: int) -> None:
    starts = random_windows(targets, frames, draws, seed)
    assert starts == sorted(set(starts)) == random_windows(targets, frames, draws, seed)
    assert all(start >= 0 and start + frames <= targets for start in starts)
    assert len(starts) == min(draws, max(targets - frames + 1, 0))


def test_every_window_can_be_sampled() -> None:
    assert {start for seed in range(60) for start in random_windows(12, 5, 2, seed)} == set(range(8))
    assert len({tuple(random_windows(100, 20, 3, seed)) for seed in range(10)}) == 10


@given(st.integers(1, 400), st.integers(1, 100))
def test_stretched_episode_keeps_its_ends_and_order(source: int, frames: int) -> None:
    frame_indices = stretch_frames(source, frames)
    assert len(frame_indices) == frames
    assert frame_indices[0] == 0
    assert frame_indices == sorted(frame_indices)
    if frames > 1:
        assert frame_indices[-1] == source - 1
        steps = np.diff(frame_indices)
        assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize(
    ("fps_in", "fps_out", "possible"),
    [(16, 16, True), (32, 16, True), (20, 16, False), (8, 16, False), (30, 10, True), (29.97, 29.97, True)],
)
def test_rates_divide_only_by_whole_numbers(fps_in: float, fps_out: float, possible: bool) -> None:
    assert rates_divide(fps_in, fps_out) == possible


@given(st.lists(st.sampled_from([0.05, 0.06, 0.07]), min_size=9, max_size=40), st.integers(0, 8), st.floats(0.3, 20))
def test_only_a_long_step_is_a_gap(steps: list[float], frame: int, gap: float) -> None:
    assert find_gaps(np.cumsum([0.0, *steps])) == []
    steps[frame] = gap
    assert find_gaps(np.cumsum([0.0, *steps])) == [(frame, pytest.approx(gap))]


def test_low_frame_rate_has_no_gaps() -> None:
    assert find_gaps(np.arange(9) * 0.5) == []
    assert find_gaps(np.array([0, 0.5, 1, 2.4, 2.9, 3.4])) == []
    assert find_gaps(np.array([0, 0.5, 1, 2.6, 3.1, 3.6])) == [(2, pytest.approx(1.6))]


def test_gap_counts_only_between_chosen_frames() -> None:
    found = [(3, 1.0), (9, 2.0)]
    assert find_gap_within([0, 1, 2, 3], found) is None
    assert find_gap_within([4, 6, 8, 9], found) is None
    assert find_gap_within([3, 3, 4], found) == (3, 1.0)
    assert find_gap_within([0, 20], found) == (3, 1.0)
    assert find_gap_within([8, 10], found) == (9, 2.0)
    assert find_gap_within([5], found) is None


def test_frame_covers_half_a_step_on_either_side() -> None:
    times_T = 7 + np.array([0, 1, 2, 8, 9, 10])
    assert surrounding_frames(times_T, 0, 2.5) == (0, 2)
    assert surrounding_frames(times_T, 0, 2.6) == (0, 3)
    assert surrounding_frames(times_T, 7.5, 9.5) == (3, 4)
    assert surrounding_frames(times_T, 7.4, 9.5) == (2, 4)
    assert surrounding_frames(times_T, 4, 5) == (2, 3)


@pytest.mark.parametrize("slow", [1e-4, 0.03, 1 / 3])
def test_very_slow_rates_are_rates(slow: float) -> None:
    assert retime(3, slow, slow) == [0, 1, 2]
    assert retime(2, slow, 2 * slow) == [0, 1, 1]
    assert rates_divide(2 * slow, slow)
