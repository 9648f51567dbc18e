from pathlib import Path

import numpy as np
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.episode import SkippedRecording
from worldtune.data.sources.rosbag.resample import estimate_rate

from ...bag_files import shot, write_bag
from ...reading import build, episode, numbers, recordings, reported, skipped
from ...videos import film, read_back


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_jittered_stamps_are_laid_on_a_grid(tmp_path: Path, seed: int) -> None:
    late = np.append(0, np.random.default_rng(seed).uniform(-0.008, 0.008, 59))  # a quarter of a step
    recorded = [t for t in range(60) if t not in (20, 45)]
    messages = [(t / 30 + late[t], film(1, first=t)[0]) for t in recorded]
    found = episode(write_bag(tmp_path / "run", {"/cam": messages}), "/cam")
    assert (found.fps, found.note) == (30, "resampled to 30 Hz by receive times, 2 frames repeat")
    shown = numbers(found)
    assert [shown[t] for t in recorded] == recorded


def test_broadcast_rate_repeats_single_frames(tmp_path: Path) -> None:
    found = episode(write_bag(tmp_path / "run", {"/cam": shot(film(520), 30000 / 1001)}), "/cam")
    assert (found.fps, found.note) == (30, "resampled to 30 Hz by receive times, 1 frame repeats")
    assert numbers(found) == [round(k * 1000 / 1001) % 256 for k in range(521)]


@pytest.mark.parametrize(("step", "rate"), [(1 / 29.97, 30), (1 / 14.8, 15), (2 / 15, 7.5), (1, 1), (7, 0.14)])
def test_frame_rate_is_that_of_most_steps(step: float, rate: float) -> None:
    steps = np.append(np.full(9, step), 40)
    assert estimate_rate((np.cumsum(steps) * 1e9).astype(np.int64)) == rate


def test_cameras_that_start_at_different_times_show_the_same_moments(tmp_path: Path) -> None:
    topics = {"/a": shot(film(30), 16, 0.01), "/b": shot(film(40, 1), 16, 0.26)}
    path = write_bag(tmp_path / "run", topics)
    a, b = episode(path, "/a", "/b"), episode(path, "/b", "/a")
    assert (numbers(a), numbers(b)) == (list(range(4, 30)), list(range(26)))
    assert (numbers(episode(path, "/a")), numbers(episode(path, "/b"))) == (list(range(30)), list(range(40)))


def test_cameras_without_shared_time_are_skipped(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", {"/a": shot(film(20)), "/b": shot(film(20, 1), 16, 9)})
    for found in recordings(path, "/a", "/b"):
        assert isinstance(found, SkippedRecording)
        assert found.reason == "its cameras were not recorded at the same time"
    assert numbers(episode(path, "/b")) == list(range(20))


@pytest.mark.parametrize("pause", [2.0, 1.7e9 - 1.0])  # a robot without a clock sets its time once it has a network
def test_no_window_spans_a_gap(tmp_path: Path, pause: float) -> None:
    path = write_bag(tmp_path / "run", {"/cam": shot(film(12)) + shot(film(13, 1), 16, 12 / 16 + pause)})
    dataset = build(path, caption="a robot", stride=1)
    assert episode(path, "/cam").frames == 25
    assert [read_back(read_clip(clip))[0] for clip in dataset.train] == [(0, t) for t in range(5)] + [
        (1, t) for t in range(6)
    ]
    refused = [row for row in dataset.ledger.rows if not row.kept]
    jump = f"timestamps jump (by {pause + 1 / 16:.2g} s after frame 11)"
    assert [(row.first_frame, row.reason) for row in refused] == [(first, jump) for first in range(5, 12)]
    assert reported(path) == [("warning", "run", f"/cam: timestamps jump once, by at most {pause + 1 / 16:.2g} s")]


def test_gap_of_one_camera_is_cut_from_the_other(tmp_path: Path) -> None:
    gappy = shot(film(10), 16) + shot(film(10, 0, 20), 16, 20 / 16)
    path = write_bag(tmp_path / "run", {"/a": gappy, "/b": shot(film(30, 1))})
    a, b = episode(path, "/a", "/b"), episode(path, "/b", "/a")
    assert numbers(a) == numbers(b) == [*range(10), *range(20, 30)]
    assert a.gaps == b.gaps == ((9, pytest.approx(11 / 16)),)


def test_dropped_message_repeats_its_neighbor_and_is_noted(tmp_path: Path) -> None:
    messages = shot(film(10))
    del messages[4]
    path = write_bag(tmp_path / "run", {"/cam": messages})
    assert numbers(episode(path, "/cam")) == [0, 1, 2, 3, 3, *range(5, 10)]
    assert build(path, caption="a robot").ledger.rows[0].note == "resampled to 16 Hz by receive times, 1 frame repeats"


def test_messages_in_bursts_have_no_rate(tmp_path: Path) -> None:
    pairs = [(t / 16 + late, frame) for t, frame in enumerate(film(9)) for late in (0, 1e-6)]
    reason = "its messages come in bursts, not at a steady rate (1e+06 per second)"
    assert skipped(write_bag(tmp_path / "run", {"/cam": pairs})) == {"run": reason}


def test_one_image_per_minute_is_read(tmp_path: Path) -> None:
    found = episode(write_bag(tmp_path / "run", {"/cam": shot(film(5), 1 / 60)}), "/cam")
    assert (found.fps, numbers(found)) == (0.017, [0, 1, 2, 3, 4])
