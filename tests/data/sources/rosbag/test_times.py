from pathlib import Path

import numpy as np
import pytest

from worldtune.data.sources.rosbag.times import collect_times, header_stamp

from ...bag_files import BEGIN, ROS1, ROS2, picture, shot, stamped, write_bag
from ...reading import build, episode, numbers, reported, skipped
from ...videos import film

EVEN = [t / 16 for t in range(40)]
BUNCHED = [(t // 8 * 8 + 8) / 16 + t % 8 * 0.002 for t in range(40)]
LATE = [t / 16 + (0.3 if t >= 20 else 0) for t in range(40)]


@pytest.mark.parametrize("received", [BUNCHED, LATE], ids=["bunched", "late"])
@pytest.mark.parametrize("name", ["run", "run.bag"])
def test_images_are_placed_at_their_header_stamps(tmp_path: Path, received: list[float], name: str) -> None:
    store = ROS1 if name.endswith(".bag") else ROS2
    path = write_bag(tmp_path / name, {"/cam": stamped(film(40), received, EVEN, store)})
    found = episode(path, "/cam")
    assert (found.fps, found.gaps, found.note) == (16, (), "resampled to 16 Hz by header stamps")
    assert numbers(found) == list(range(40))
    assert reported(path) == []
    assert len(build(path, caption="a robot").train) == 5


def test_messages_received_at_one_time_are_distinct(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", {"/cam": stamped(film(40), [t // 8 / 2 for t in range(40)], EVEN)})
    assert numbers(episode(path, "/cam")) == list(range(40))
    assert reported(path) == []


@pytest.mark.parametrize(
    "taken", [[0.0] * 40, EVEN[::-1], [*EVEN[:20], *EVEN[:20]], [t * 1e-5 for t in range(40)], [*range(40)]]
)
def test_irregular_stamps_are_ignored(tmp_path: Path, taken: list[float]) -> None:
    path = write_bag(tmp_path / "run", {"/cam": stamped(film(40), EVEN, taken)})
    found = episode(path, "/cam")
    assert (found.note, numbers(found)) == ("resampled to 16 Hz by receive times", list(range(40)))


def test_camera_with_another_clock_is_aligned(tmp_path: Path) -> None:
    uptime = [t - 1e9 for t in EVEN]
    received = [t + 0.01 for t in EVEN]
    topics = {"/a": stamped(film(40), received, EVEN), "/b": stamped(film(40, 1), received, uptime)}
    path = write_bag(tmp_path / "run", topics)
    for camera in ("/a", "/b"):
        found = episode(path, camera, "/a", "/b")
        assert (found.frames, found.note) == (40, "resampled to 16 Hz by header stamps")


def test_cameras_may_use_different_clocks(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", {"/a": stamped(film(40), LATE, EVEN), "/b": shot(film(40, 1))})
    notes = [episode(path, camera, "/a", "/b").note for camera in ("/a", "/b")]
    assert notes == ["resampled to 16 Hz by header stamps", "resampled to 16 Hz by receive times"]
    assert skipped(path) == {}


def test_header_stamp_is_read_from_ros1_and_ros2() -> None:
    for store, write in ((ROS1, ROS1.serialize_ros1), (ROS2, ROS2.serialize_cdr)):
        message = picture(film(1)[0], "rgb8", store, taken=BEGIN + 7)
        assert header_stamp(bytes(write(message, message.__msgtype__)), store is ROS2) == BEGIN + 7
    message = picture(film(1)[0], "rgb8", taken=BEGIN + 7)
    big = bytes(ROS2.serialize_cdr(message, message.__msgtype__, little_endian=False))
    assert header_stamp(big, True) == BEGIN + 7
    assert header_stamp(b"\x00\x01\x00\x00", True) == 0


def test_messages_are_numbered_within_equal_times() -> None:
    found = collect_times([(5, 1), (3, 2), (5, 3), (5, 4)])
    assert np.array_equal(found.received, [3, 5, 5, 5])
    assert np.array_equal(found.number, [0, 0, 1, 2])
    assert np.array_equal(found.stamped, [2, 1, 3, 4])
