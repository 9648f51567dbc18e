"""Frames of a video by number, without decoding all that lies before them.

Shapes: H height, W width.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from worldtune.episodes.scan import Scan, scan
from worldtune.episodes.video import decode, picture


def read_chosen(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of rising numbers `wanted`, each with its number, as uint8 (H, W, 3).

    What lies between them is decoded only where the next one needs it. A frame is known by its time stamp, as
    a decoding of the whole file had it, so that a seek that lands elsewhere cannot give another one. Frames past the
    end do not come. Raises DataError where decoding fails.
    """
    seen = scan(path)
    for run in _runs([number for number in wanted if number < seen.facts.frames], seen.keys):
        left, begin = list(run), _key_of(run[0], seen.keys)
        if begin > 0:
            yield from _taken(path, _numbered(path, seen, int(seen.stamps[begin])), left)
        if left:  # or the seek did not land before the frame
            yield from _taken(path, enumerate(decode(path)), left)


def _key_of(number: int, keys: np.ndarray) -> int:
    """The last of the rising `keys` that is no later than `number`, 0 where there is none."""
    place = int(np.searchsorted(keys, number, side="right"))
    return int(keys[place - 1]) if place else 0


def _runs(wanted: Sequence[int], keys: np.ndarray) -> Iterator[list[int]]:
    """`wanted` in parts, a new one where a key frame lies between two of them."""
    run: list[int] = []
    for number in wanted:
        if run and _key_of(number, keys) > run[-1]:
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def _numbered(path: Path, seen: Scan, stamp: int) -> Iterator[tuple[int, av.VideoFrame]]:
    for frame in decode(path, stamp):
        number = seen.number(frame.pts)
        if number is None:
            return
        yield number, frame


def _taken(
    path: Path, numbered: Iterable[tuple[int, av.VideoFrame]], left: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of `left`, each taken out of it, until one does not come."""
    for number, frame in numbered:
        if number == left[0]:
            yield left.pop(0), picture(path, frame)
        if not left or number > left[0]:
            return
