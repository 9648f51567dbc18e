"""How much an HDF5 dataset claims to hold, against what is stored; and its pictures, each compressed chunk read once.

A chunk is unpacked as a whole, whichever part of it is asked for, and what was never written is read as a fill value:
a few kilobytes can claim any number of frames.

Shapes: T frames, H height, W width, C colours.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.errors import DataError

DENSEST = 2000
"""Times that a file may claim its own size: DEFLATE packs at most 1032 times (zlib.net/zlib_tech.html)."""
SMALL, AT_ONCE = 1 << 26, 1 << 28
"""Bytes that a file may always claim; bytes that are read at once."""


def check_extent(dataset: Any) -> None:
    """Raise DataError if numbers of the dataset were never written, or it claims more than its bytes can hold."""
    claimed, stored = math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if claimed and not _is_whole(dataset, stored):
        raise _fault(dataset, "not all of it was written")
    if claimed > SMALL and claimed > DENSEST * stored:
        raise _fault(dataset, f"it claims {claimed:,} bytes, of which {stored:,} are stored")


def check_sum(datasets: Iterable[Any], path: Path) -> None:
    """Raise DataError if all together claim more than the file can hold: links name the same numbers over and over."""
    size = path.stat().st_size
    claimed = sum(math.prod(dataset.shape) * dataset.dtype.itemsize for dataset in datasets)
    if claimed > max(SMALL, DENSEST * size):
        what = f"its demonstrations claim {claimed:,} bytes, the file has {size:,}"
        raise DataError(what, where=str(path), mend="Write it again.")


def _is_whole(dataset: Any, stored: int) -> bool:
    if dataset.chunks is None:
        return bool(stored)  # contiguous: all of it, or none
    chunks = (-(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() >= math.prod(chunks))


def read_pictures(dataset: Any, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames of rising numbers `wanted`, each with its number, as uint8 (H, W, C)."""
    there = [number for number in wanted if number < len(dataset)]
    chunk = dataset.chunks[0] if dataset.chunks else 1
    step = max(1, min(chunk, AT_ONCE // max(math.prod(dataset.shape[1:]), 1)))
    for _, group in groupby(there, key=lambda number: number // step):
        numbers = list(group)
        frames_THWC = np.asarray(dataset[numbers[0] : numbers[-1] + 1])
        for number in numbers:
            yield number, frames_THWC[number - numbers[0]]


def _fault(dataset: Any, what: str) -> DataError:
    name = dataset.name.rpartition("/")[2]
    return DataError(f"{what} ({name})", where=dataset.file.filename, mend="Write it again.")
