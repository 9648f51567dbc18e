"""Frames of a video by number, without decoding all that lies before them.

Shapes: H height, W width.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from worldtune.episodes.video import Scan, decode, scan


def read_chosen(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of rising numbers `wanted`, each with its number, as uint8 (H, W, 3).

    What lies between them is decoded only where the next one needs it. A frame is known by its time stamp, as
    a decoding of the whole file had it, so that a seek that lands elsewhere cannot give another one. Frames past the
    end do not come. Raises DataError where decoding fails.
    """
    seen = scan(path)
    stamps = list(seen.place)
    for run in _runs([number for number in wanted if number < seen.facts.frames], seen.keys):
        begin = _key_of(run[0], seen.keys)
        found = _numbered(path, seen, stamps[begin]) if begin > 0 else enumerate(decode(path))
        left = list(run)
        for number, frame in found:
            if number == left[0]:
                yield left.pop(0), frame.to_ndarray(format="rgb24")
            if not left or number > left[0]:
                break
        if left:
            yield from _from_the_beginning(path, left)


def _key_of(number: int, keys: Sequence[int]) -> int:
    return keys[bisect_right(keys, number) - 1] if keys and keys[0] <= number else 0


def _runs(wanted: Sequence[int], keys: Sequence[int]) -> Iterator[list[int]]:
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
        number = seen.place.get(frame.pts) if frame.pts is not None else None
        if number is None:
            return
        yield number, frame


def _from_the_beginning(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Where a seek did not land before the frame."""
    chosen = set(wanted)
    for number, frame in enumerate(decode(path)):
        if number in chosen:
            yield number, frame.to_ndarray(format="rgb24")
        if number >= wanted[-1]:
            return
