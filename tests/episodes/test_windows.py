from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.episodes.windows import cut, retime

RATES = st.sampled_from([5, 10, 12.5, 15, 16, 20, 23.976, 24, 25, 30000 / 1001, 30, 50, 60])


@given(st.integers(0, 400), RATES, RATES)
def test_picks_are_the_nearest_frames_in_order(frames: int, fps_in: float, fps_out: float) -> None:
    picks = retime(frames, fps_in, fps_out)
    assert picks[:1] == [0] * bool(frames)
    assert picks == sorted(picks)
    assert all(pick < frames for pick in picks)
    for k, pick in enumerate(picks):
        assert abs(pick / fps_in - k / fps_out) <= 0.5 / fps_in + 1e-6


@given(st.integers(0, 400), RATES)
def test_equal_rates_change_nothing(frames: int, fps: float) -> None:
    assert retime(frames, fps, fps) == list(range(frames))


@given(st.integers(1, 400), RATES, RATES)
def test_no_target_time_of_the_episode_is_left_out(frames: int, fps_in: float, fps_out: float) -> None:
    end = Fraction(fps_out).limit_denominator(1001) / Fraction(fps_in).limit_denominator(1001) * (frames - 1)
    assert len(retime(frames, fps_in, fps_out)) >= end


def test_a_slower_rate_drops_and_a_faster_one_repeats() -> None:
    assert retime(10, 20, 16) == [0, 1, 3, 4, 5, 6, 8, 9]
    assert retime(3, 10, 20) == [0, 1, 1, 2, 2]


@given(st.integers(0, 300), st.integers(1, 60), st.integers(1, 60))
def test_windows_fit_and_the_remainder_is_real(targets: int, frames: int, stride: int) -> None:
    starts, rest = cut(targets, frames, stride)
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
    assert cut(targets, 21, 21) == expected


def test_what_is_left_at_the_end_is_told() -> None:
    assert cut(50, 21, 21) == ([0, 21], 42)
    assert cut(50, 21, 10) == ([0, 10, 20], 30)
    assert cut(41, 21, 10) == ([0, 10, 20], None)
    assert cut(25, 21, 40) == ([0], None)
