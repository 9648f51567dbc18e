"""Read frames of a video by number, without decoding everything before them.

Shapes: H height, W width.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from worldtune.data.video.decode import decode_frames, rgb_image
from worldtune.data.video.video_index import VideoIndex, index_video


def read_frames_at(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames of rising numbers `wanted`, each with its number, as uint8 (H, W, 3).

    Frames between them are decoded only if the next one needs them. A frame is identified by its timestamp from a
    full decoding of the file, so an inexact seek cannot return a wrong frame. Frames past the end are skipped.
    Raise DataError where decoding fails.
    """
    index = index_video(path)
    for run in _runs([number for number in wanted if number < index.info.frames], index.keys):
        remaining, begin = list(run), _key_frame_before(run[0], index.keys)
        if begin > 0:
            yield from _take(index, path, _number_frames(path, index, int(index.stamps[begin])), remaining)
        if remaining:  # or the seek did not land before the frame
            yield from _take(index, path, enumerate(decode_frames(path)), remaining)


def _key_frame_before(number: int, keys: np.ndarray) -> int:
    """Return the last of the rising `keys` that is not after `number`, 0 if there is none."""
    position = int(np.searchsorted(keys, number, side="right"))
    return int(keys[position - 1]) if position else 0


def _runs(wanted: Sequence[int], keys: np.ndarray) -> Iterator[list[int]]:
    """Yield `wanted` in parts; a new part begins where a key frame lies between two numbers."""
    run: list[int] = []
    for number in wanted:
        if run and _key_frame_before(number, keys) > run[-1]:
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def _number_frames(path: Path, index: VideoIndex, stamp: int) -> Iterator[tuple[int, av.VideoFrame]]:
    for frame in decode_frames(path, stamp):
        number = index.find_frame(frame.pts)
        if number is None:
            return
        yield number, frame


def _take(
    index: VideoIndex, path: Path, numbered: Iterable[tuple[int, av.VideoFrame]], remaining: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames of `remaining` and remove them from it, until one is missing."""
    for number, frame in numbered:
        if number == remaining[0]:
            yield remaining.pop(0), rgb_image(path, frame, index.info.pixel_aspect_ratio)
        if not remaining or number > remaining[0]:
            return
