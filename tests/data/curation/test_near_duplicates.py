"""Recordings of one scene: different demonstrations, and copies of one of them."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import worldtune.data.curation.near_duplicates as module
from benchmarks.data.demonstrations import FPS, draw_fixed_camera, draw_wrist_camera
from worldtune.data.curation.near_duplicates import Pair, find_near_duplicates, measure_similarity
from worldtune.data.curation.recording import Recording, build_recording
from worldtune.data.episode import Episode
from worldtune.data.video.footage import VideoFootage
from worldtune.data.video.frame_features import extract_frame_features

from ..scenes import recompressed, scene

SPAN, EPISODES = 1.25, 12
DRAW = {"fixed": draw_fixed_camera, "wrist": draw_wrist_camera}


def recording(name: str, frames_THWC: np.ndarray, rows_TS: np.ndarray | None = None, fps: float = FPS) -> Recording:
    size = frames_THWC.shape[1:3]
    episode = Episode(name, "cam", "", "", VideoFootage(Path(name)), len(frames_THWC), fps, *size, states=rows_TS)
    return build_recording(episode, extract_frame_features(frames_THWC))


@cache
def drawn(camera: str) -> tuple[Recording, ...]:
    return tuple(recording(f"{seed}", *DRAW[camera](seed)) for seed in range(EPISODES))


def blind(recordings: tuple[Recording, ...]) -> list[Recording]:
    return [Recording(r.episode, r.camera, r.times, r.samples, r.compressed, None) for r in recordings]


def found(recordings: list[Recording] | tuple[Recording, ...]) -> list[tuple[int, int]]:
    return [(pair.first, pair.second) for pair in find_near_duplicates(recordings, SPAN)]


@pytest.mark.parametrize("camera", DRAW)
def test_demonstrations_of_one_task_are_not_copies(camera: str) -> None:
    assert found(drawn(camera)) == []
    assert found(blind(drawn(camera))) == []


@pytest.mark.parametrize("camera", DRAW)
@pytest.mark.parametrize("kind", ["lower quality", "cut", "half the rate"])
def test_copy_is_found(tmp_path: Path, camera: str, kind: str) -> None:
    frames_THWC, rows_TS = DRAW[camera](3)
    frame_indices = {"cut": np.arange(12, 60), "half the rate": np.arange(0, len(frames_THWC), 2)}
    its = frame_indices.get(kind, np.arange(len(frames_THWC)))
    fps = FPS / 2 if kind == "half the rate" else FPS
    film_THWC = recompressed(tmp_path / "a.mp4", frames_THWC[its], 32 if kind == "lower quality" else 24)
    assert found([*drawn(camera), recording("copy", film_THWC, rows_TS[its], fps)]) == [(3, EPISODES)]


def test_copy_of_unknown_states_is_found(tmp_path: Path) -> None:
    film_THWC = recompressed(tmp_path / "a.mp4", draw_wrist_camera(3)[0])
    (pair,) = find_near_duplicates([*drawn("wrist"), recording("copy", film_THWC)], SPAN)
    assert isinstance(pair, Pair)
    assert (pair.first, pair.second, pair.similarity.rows, pair.similarity.lag) == (3, EPISODES, None, 0)
    assert pair.next_difference > 3 * pair.similarity.difference


def test_the_lag_is_that_of_the_footage() -> None:
    film_THWC = scene(90, 1)
    one, other = recording("a", film_THWC[:60]), recording("b", film_THWC[13:80])
    assert measure_similarity(one, other, -0.7, SPAN).lag == pytest.approx(-13 / FPS)


def test_unequal_states_need_closer_images() -> None:
    frames_THWC, rows_TS = draw_fixed_camera(3)
    same = measure_similarity(recording("a", frames_THWC, rows_TS), recording("b", frames_THWC, rows_TS), 0, SPAN)
    other = measure_similarity(
        recording("a", frames_THWC, rows_TS), recording("b", frames_THWC, rows_TS[::-1].copy()), 0, SPAN
    )
    assert (same.difference, other.difference) == (0, 0)
    assert same.rows_equal
    assert not other.rows_equal


def test_another_color_is_another_demonstration() -> None:
    """Red and blue have the same luma."""
    film_THWC = scene(40, 1, noise=0)
    colored = [film_THWC.copy(), film_THWC.copy()]
    for film, (red, blue) in zip(colored, ((180, 28), (108, 217)), strict=True):
        film[:, 40:60, 40:70] = (red, 60, blue)
    luma = [extract_frame_features(film).thumbs.astype(int) for film in colored]
    assert np.abs(luma[0] - luma[1]).max() <= 1
    assert found([recording(name, film) for name, film in zip("ab", colored, strict=True)]) == []
    assert found([recording(name, colored[0]) for name in "ab"]) == [(0, 1)]


def test_all_copies_of_a_recording_are_found() -> None:
    films = [scene(40, seed) for seed in (1, 2, 1, 3, 1)]
    assert found([recording(str(k), film) for k, film in enumerate(films)]) == [(0, 2), (0, 4), (2, 4)]


def test_few_recordings_and_short_ones() -> None:
    assert found([]) == found([recording("a", scene(40, 1))]) == []
    assert found([recording("a", scene(1, 1)), recording("b", scene(1, 2))]) == []
    assert found([recording(name, scene(8, 1)) for name in "ab"]) == [(0, 1)]


def test_identical_recordings_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the same as when every pair is compared."""
    frames_THWC, rows_TS = draw_fixed_camera(3)
    others = [recording(f"other {n}", *draw_fixed_camera(n)) for n in range(2)]
    lists = {
        "all alike": [recording(str(n), frames_THWC, rows_TS) for n in range(8)],
        "of other states": [recording(str(n), frames_THWC, np.roll(rows_TS, n, 0)) for n in range(8)],
        "of unknown states": [recording(str(n), frames_THWC) for n in range(8)],
        "among others": [*(recording(str(n), frames_THWC, rows_TS) for n in range(5)), *others],
    }
    counts = {}
    for name, recordings in lists.items():
        calls: list[float] = []
        with monkeypatch.context() as patch:
            patch.setattr(
                module, "measure_similarity", lambda *its, calls=calls: calls.append(its[2]) or measure_similarity(*its)
            )
            memorized = find_near_duplicates(recordings, SPAN)
            counts[name] = len(calls)
            patch.setattr(Recording, "content", property(lambda recording: object()))
            assert memorized == find_near_duplicates(recordings, SPAN)
        assert memorized, name
    assert counts["all alike"] == counts["of unknown states"] == 1
    assert counts["of other states"] == 8 * 7 / 2
