"""Check how much an HDF5 dataset claims against what is stored; read its frames, each compressed chunk once.

HDF5 decompresses a whole chunk even for one part of it, and reads a fill value where nothing was written: a few
kilobytes can claim any number of frames.

Shapes: T frames, H height, W width, C colors.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.errors import DataError

MAX_COMPRESSION_RATIO = 2000
"""The most that a dataset may claim, times its stored size; DEFLATE reaches at most 1032 (zlib.net/zlib_tech.html)."""
ALWAYS_ALLOWED_BYTES, READ_BYTES = 1 << 26, 1 << 28
"""Bytes that a file may always claim; bytes to read at a time."""


def check_extent(dataset: Any) -> None:
    """Raise DataError if a part of the dataset was never written, or it claims more than its bytes can hold."""
    claimed, stored = math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if claimed and not _is_whole(dataset, stored):
        raise _extent_error(dataset, "a part of it was never written")
    if claimed > ALWAYS_ALLOWED_BYTES and claimed > MAX_COMPRESSION_RATIO * stored:
        raise _extent_error(dataset, f"it claims {claimed:,} bytes, but only {stored:,} are stored")


def check_total_extent(datasets: Iterable[Any], path: Path) -> None:
    """Raise DataError if all datasets together claim more than the file can hold: links can repeat a dataset."""
    size = path.stat().st_size
    claimed = sum(math.prod(dataset.shape) * dataset.dtype.itemsize for dataset in datasets)
    if claimed > max(ALWAYS_ALLOWED_BYTES, MAX_COMPRESSION_RATIO * size):
        what = f"its demonstrations claim {claimed:,} bytes, but the file has {size:,}"
        raise DataError(what, where=str(path), hint="Export it again.")


def _is_whole(dataset: Any, stored: int) -> bool:
    if dataset.chunks is None:
        return bool(stored)  # contiguous: all of it was written, or nothing
    chunks = (-(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() >= math.prod(chunks))


def read_images(dataset: Any, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames of rising numbers `wanted`, each with its number, as uint8 (H, W, C)."""
    available = [number for number in wanted if number < len(dataset)]
    chunk = dataset.chunks[0] if dataset.chunks else 1
    step = max(1, min(chunk, READ_BYTES // max(math.prod(dataset.shape[1:]), 1)))
    for _, group in groupby(available, key=lambda number: number // step):
        numbers = list(group)
        frames_THWC = np.asarray(dataset[numbers[0] : numbers[-1] + 1])
        for number in numbers:
            yield number, frames_THWC[number - numbers[0]]


def _extent_error(dataset: Any, what: str) -> DataError:
    name = dataset.name.rpartition("/")[2]
    return DataError(f"{what} ({name})", where=dataset.file.filename, hint="Export it again.")
