"""Choose clips spread over a dataset."""

from collections.abc import Sequence
from typing import Any

from worldtune.data.clip import Clip

MIN_PER_CAMERA = 16


def spread(clips: Sequence[Any], count: int | None) -> list[Any]:
    """Return `count` of the clips, spread over their order; all clips if there are no more or `count` is None."""
    if count is None or count >= len(clips):
        return list(clips)
    return [clips[number * len(clips) // count] for number in range(count)]


def spread_by_camera(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Return about `count` clips, equally many of each camera, but at least `MIN_PER_CAMERA` if there are so many."""
    cameras: dict[str, list[Clip]] = {}
    for clip in clips:
        cameras.setdefault(clip.camera, []).append(clip)
    per_camera = max(MIN_PER_CAMERA, count // max(1, len(cameras)))
    return [clip for camera_clips in cameras.values() for clip in spread(camera_clips, per_camera)]
