from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.recordings import tile_recordings

from .test_candidates import LENGTH, LOST, episode, spec
from .videos import SIDE

__all__ = ["episode"]


def recordings(*of: Episode | SkippedRecording) -> Iterator[Episode | SkippedRecording]:
    yield from of


def both(episode: Episode, **changes: Any) -> list[Episode | SkippedRecording]:
    other = replace(episode, camera="wrist", **changes)
    tiled = spec(tile=[["front", "wrist"]], width=2 * SIDE)
    return list(tile_recordings(recordings(episode, other), tiled))


def test_recordings_without_tile_are_unchanged(episode: Episode) -> None:
    assert list(tile_recordings(recordings(episode, LOST), spec())) == [episode, LOST]


def test_tiled_cameras_are_one_recording(episode: Episode) -> None:
    (one,) = both(episode, note="resampled", gaps=((3, 2.0),))
    assert isinstance(one, Episode)
    assert (one.camera, one.frames, one.height, one.width) == ("front+wrist", LENGTH, SIDE, 2 * SIDE)
    assert one.note == "two task texts; resampled"
    assert one.gaps == ((3, 2.0),)
    assert one.states is not None
    assert len(one.states) == LENGTH


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fps": 30}, "the tiled cameras have different rates (16, 30 fps)"),
        ({"times": np.arange(LENGTH) / 16}, "a tiled camera's frames are unevenly spaced in time (wrist)"),
    ],
)
def test_cameras_with_different_timing_cannot_be_tiled(episode: Episode, changes: dict[str, Any], reason: str) -> None:
    (one,) = both(episode, **changes)
    assert isinstance(one, SkippedRecording)
    assert (one.reason, one.camera, one.session) == (reason, "front+wrist", "monday")


def test_episodes_are_tiled_separately(episode: Episode) -> None:
    four = [replace(episode, name=name, camera=camera) for name in ("a", "b") for camera in ("front", "wrist")]
    tiled = spec(tile=[["front", "wrist"]], width=2 * SIDE)
    assert [(one.name, one.camera) for one in tile_recordings(recordings(*four), tiled)] == [
        ("a", "front+wrist"),
        ("b", "front+wrist"),
    ]
    four[3] = replace(LOST, camera="wrist")
    assert [isinstance(one, SkippedRecording) for one in tile_recordings(recordings(*four), tiled)] == [False, True]
