from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.episodes.clip import read_clip
from worldtune.episodes.dataset import open_dataset, take_stock
from worldtune.episodes.lerobot_writer import write_lerobot
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.windows import (
    cut,
    draw,
    jump_within,
    jumps,
    meets,
    recorded,
    retime,
    retime_by,
    stretch,
)
from worldtune.errors import DataError

from .films import cosmos_folder, film, read_back, write_packed_v3
from .scenes import demonstration

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


def spec(path: Path, frames: int = 8, **settings: object) -> DataSpec:
    size = {"fps": 16, "height": 64, "width": 64}
    return DataSpec.model_validate({"path": str(path), "frames": frames} | size | settings)


@given(st.integers(2, 300), RATES, RATES, st.floats(-100, 1000))
def test_even_times_are_retimed_as_a_rate_is(frames: int, fps_in: float, fps_out: float, begin: float) -> None:
    times_T = begin + np.arange(frames) / fps_in
    assert retime_by(times_T, fps_out) == retime(frames, fps_in, fps_out)


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=60), RATES)
def test_uneven_frames_are_picked_by_their_times(steps: list[float], fps: float) -> None:
    times_T = np.cumsum([0.0, *steps])
    picks = retime_by(times_T, fps)
    assert picks[0] == 0
    assert picks == sorted(picks)
    for k, pick in enumerate(picks):
        assert abs(times_T[pick] - k / fps) <= np.abs(times_T - k / fps).min() + 1e-8
    assert len(picks) / fps >= times_T[-1]


def test_a_film_of_one_frame_is_one_frame() -> None:
    assert retime_by(np.array([3.0]), 16) == [0]
    assert jumps(np.array([3.0])) == []


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 50), st.integers(0, 9))
def test_drawn_windows_fit_and_are_as_many_as_there_can_be(targets: int, frames: int, draws: int, seed: int) -> None:
    starts = draw(targets, frames, draws, seed)
    assert starts == sorted(set(starts)) == draw(targets, frames, draws, seed)
    assert all(start >= 0 and start + frames <= targets for start in starts)
    assert len(starts) == min(draws, max(targets - frames + 1, 0))


def test_every_window_can_be_drawn() -> None:
    assert {start for seed in range(60) for start in draw(12, 5, 2, seed)} == set(range(8))
    assert len({tuple(draw(100, 20, 3, seed)) for seed in range(10)}) == 10


@given(st.integers(1, 400), st.integers(1, 100))
def test_a_stretched_episode_has_its_ends_and_goes_forward(source: int, frames: int) -> None:
    picks = stretch(source, frames)
    assert len(picks) == frames
    assert picks[0] == 0
    assert picks == sorted(picks)
    if frames > 1:
        assert picks[-1] == source - 1
        steps = np.diff(picks)
        assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize(
    ("fps_in", "fps_out", "possible"),
    [(16, 16, True), (32, 16, True), (20, 16, False), (8, 16, False), (30, 10, True), (29.97, 29.97, True)],
)
def test_a_rate_meets_another_where_it_is_a_multiple(fps_in: float, fps_out: float, possible: bool) -> None:
    assert meets(fps_in, fps_out) == possible


@given(st.lists(st.sampled_from([0.05, 0.06, 0.07]), min_size=9, max_size=40), st.integers(0, 8), st.floats(0.3, 20))
def test_a_gap_is_the_only_jump(steps: list[float], frame: int, gap: float) -> None:
    assert jumps(np.cumsum([0.0, *steps])) == []
    steps[frame] = gap
    assert jumps(np.cumsum([0.0, *steps])) == [(frame, pytest.approx(gap))]


def test_few_frames_a_second_are_no_jumps() -> None:
    assert jumps(np.arange(9) * 0.5) == []
    assert jumps(np.array([0, 0.5, 1, 2.4, 2.9, 3.4])) == []
    assert jumps(np.array([0, 0.5, 1, 2.6, 3.1, 3.6])) == [(2, pytest.approx(1.6))]


def test_a_jump_counts_only_between_two_of_the_picks() -> None:
    found = [(3, 1.0), (9, 2.0)]
    assert jump_within([0, 1, 2, 3], found) is None
    assert jump_within([4, 6, 8, 9], found) is None
    assert jump_within([3, 3, 4], found) == (3, 1.0)
    assert jump_within([0, 20], found) == (3, 1.0)
    assert jump_within([8, 10], found) == (9, 2.0)
    assert jump_within([5], found) is None


def test_a_frame_stands_for_half_a_step_on_either_side() -> None:
    times_T = 7 + np.array([0, 1, 2, 8, 9, 10])
    assert recorded(times_T, 0, 2.5) == (0, 2)
    assert recorded(times_T, 0, 2.6) == (0, 3)
    assert recorded(times_T, 7.5, 9.5) == (3, 4)
    assert recorded(times_T, 7.4, 9.5) == (2, 4)
    assert recorded(times_T, 4, 5) == (2, 3)


def test_random_windows_are_drawn_once_for_all_cameras(tmp_path: Path) -> None:
    layout = {"front": [[0, 1, 2]], "wrist": [[0], [1, 2]]}
    root = write_packed_v3(tmp_path / "d", (30, 40, 50), layout)
    dataset = open_dataset(spec(root, windows="random", draws=3))
    by_recording: dict[tuple[str, str], list[int]] = {}
    for clip in dataset.train:
        by_recording.setdefault((clip.episode, clip.camera), []).append(clip.picks[0])
        shown = read_back(read_clip(clip))
        assert shown == [(10 * (clip.camera == "wrist") + int(clip.episode), pick) for pick in clip.picks]
    assert len(by_recording) == 6
    for episode in ("000000", "000001", "000002"):
        assert len(by_recording[episode, "front"]) == 3
        assert by_recording[episode, "front"] == by_recording[episode, "wrist"]
    again = open_dataset(spec(root, windows="random", draws=3))
    assert [clip.name for clip in again.train] == [clip.name for clip in dataset.train]
    assert again.digest == dataset.digest
    other = open_dataset(spec(root, windows="random", draws=3, seed=1))
    assert [clip.name for clip in other.train] != [clip.name for clip in dataset.train]
    assert other.digest != dataset.digest


def test_random_windows_of_a_slow_source_begin_at_frames_of_their_own(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 12}, fps=8)
    assert [clip.picks[0] for clip in open_dataset(spec(root, windows="random", draws=50)).train] == list(range(9))
    for seed in range(5):
        starts = [clip.picks[0] for clip in open_dataset(spec(root, windows="random", draws=4, seed=seed)).train]
        assert len(set(starts)) == 4


def test_a_recording_too_short_to_draw_from_is_a_row(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 7})
    (row,) = take_stock(spec(root, windows="random", draws=3)).ledger.rows
    assert (row.kept, row.reason) == (False, "shorter than the window (7 of 8 frames)")


def test_a_whole_episode_says_how_fast_it_is_shown(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"fast": 36, "real": 8, "slow": 4})
    dataset = open_dataset(spec(root, windows="whole"))
    shown = {clip.episode: [t for _, t in read_back(read_clip(clip))] for clip in dataset.train}
    assert shown == {"fast": [0, 5, 10, 15, 20, 25, 30, 35], "real": [*range(8)], "slow": [0, 0, 1, 1, 2, 2, 3, 3]}
    told = {row.episode: (row.speed, row.note) for row in dataset.ledger.rows}
    assert told["fast"] == (5, "whole episode at 5.00 × its speed")
    assert told["real"] == (1, "whole episode at 1.00 × its speed")
    assert told["slow"] == (pytest.approx(3 / 7), "whole episode at 0.43 × its speed")


def test_a_rate_that_does_not_divide_is_refused_where_it_must_be_exact(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 24}, fps=20)
    (row,) = take_stock(spec(root, retime="exact")).ledger.rows
    assert (row.kept, row.reason) == (False, "20 fps cannot be made 16 fps exactly")
    with pytest.raises(DataError, match="1: 20 fps cannot be made 16 fps exactly"):
        open_dataset(spec(root, retime="exact"))


def test_a_rate_that_divides_is_exact(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 32}, fps=32)
    dataset = open_dataset(spec(root, retime="exact"))
    assert [clip.picks for clip in dataset.train] == [tuple(range(0, 16, 2)), tuple(range(16, 32, 2))]
    assert dataset.ledger.rows[0].note == "retimed from 32 to 16 fps"


def test_93_frames_are_one_clip_of_93(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 93})
    for windows in ("grid", "whole"):
        dataset = open_dataset(spec(root, 93, windows=windows))
        (clip,) = dataset.train
        assert clip.picks == tuple(range(93))
        assert len(dataset.ledger.rows) == 1
    assert read_back(read_clip(clip)) == [(0, t) for t in range(93)]


def test_states_and_actions_are_the_rows_of_the_picked_frames(tmp_path: Path) -> None:
    episodes = [demonstration(film(length, tag), tag) for tag, length in enumerate((41, 20))]
    write_lerobot(tmp_path / "d", episodes, 20, "arm", "cam")
    for settings in ({"stride": 5}, {"windows": "whole"}, {"windows": "random", "draws": 3}):
        clips = open_dataset(spec(tmp_path / "d", **settings)).train
        assert {clip.episode for clip in clips} == {"000000", "000001"}
        for clip in clips:
            _, states_TS, actions_TA, _ = episodes[int(clip.episode)]
            assert np.array_equal(clip.states, states_TS[list(clip.picks)])
            assert np.array_equal(clip.actions, actions_TA[list(clip.picks)])
            assert [number for _, number in read_back(read_clip(clip))] == list(clip.picks)
