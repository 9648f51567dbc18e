"""Arrays of Zarr groups, formats 2 and 3, read without the zarr package and without codecs that run code.

Shapes: N rows, the first axis.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from worldtune.data.sources.hdf5.extent import ALWAYS_ALLOWED_BYTES, MAX_COMPRESSION_RATIO
from worldtune.data.sources.zarr.codecs import CODECS, DECODE_ERRORS, decode_chunk
from worldtune.data.sources.zarr.metadata import HINT, ArrayMetadata, read_metadata
from worldtune.data.sources.zarr.store import Store
from worldtune.errors import DataError, first_line

LARGEST, MAX_EMPTY_CHUNKS = 1 << 30, 1 << 16  # bytes of a chunk; number of chunks that may be missing


@dataclass(frozen=True)
class Array:
    """An array of a store; `sizes` are the stored bytes of its chunks by key."""

    store: Store
    name: str
    metadata: ArrayMetadata
    sizes: dict[str, int] = field(compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.metadata.shape

    @property
    def chunks(self) -> tuple[int, ...]:
        return self.metadata.chunks

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.metadata.dtype

    def key(self, chunk_index: tuple[int, ...]) -> str:
        return f"{self.name}/{self.metadata.prefix}{self.metadata.separator.join(map(str, chunk_index))}"

    def keys(self, first: int, last: int) -> list[str]:
        """Return the keys of the existing chunks that contain the rows first … last - 1."""
        rows = range(first // self.chunks[0], -(-last // self.chunks[0]))
        every = (self.key((row, *rest)) for row in rows for rest in self._inner())
        return [key for key in every if key in self.sizes]

    def _inner(self) -> Iterator[tuple[int, ...]]:
        return product(*(range(-(-side // chunk)) for side, chunk in zip(self.shape[1:], self.chunks[1:], strict=True)))

    def read_chunk_row(self, row: int) -> np.ndarray:
        """Return the rows of the chunks at `row` along the first axis. Raise DataError if they cannot be read."""
        first = row * self.chunks[0]
        out = np.empty((min(self.chunks[0], self.shape[0] - first), *self.shape[1:]), self.dtype)
        for rest in self._inner():
            corner = (0, *(chunk_index * chunk for chunk_index, chunk in zip(rest, self.chunks[1:], strict=True)))
            part = out[tuple(slice(at, at + chunk) for at, chunk in zip(corner, self.chunks, strict=True))]
            part[...] = self._chunk((row, *rest))[tuple(slice(side) for side in part.shape)]
        return out

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return the rows first … last - 1."""
        begin = first // self.chunks[0]
        slabs = [self.read_chunk_row(row) for row in range(begin, -(-last // self.chunks[0]))]
        start = first - begin * self.chunks[0]
        whole = np.concatenate(slabs) if slabs else np.empty((0, *self.shape[1:]), self.dtype)
        return whole[start : start + last - first]

    def _chunk(self, chunk_index: tuple[int, ...]) -> np.ndarray:
        key, size = self.key(chunk_index), math.prod(self.chunks) * self.dtype.itemsize
        if key not in self.sizes:
            return np.full(self.chunks, self.metadata.fill, self.dtype)
        data = self.store.read(key, size + ALWAYS_ALLOWED_BYTES)
        try:
            values = decode_chunk(self.metadata.codec, data, self.chunks, self.dtype)
            return values.reshape(self.chunks, order="F" if self.metadata.order == "F" else "C")
        except DECODE_ERRORS as error:
            what = f"a chunk cannot be decompressed ({self.metadata.codec or 'raw'}): {first_line(error)}"
            raise DataError(what, where=f"{self.store.root}/{key}", hint="Copy it again.") from error


def open_array(store: Store, name: str) -> Array:
    """Return an array. Raise DataError if it is not numeric, has an unsupported codec, or claims too much."""
    array = Array(store, name, read_metadata(store, name), store.sizes(name))
    _check_array(array, f"{store.root}/{name}")
    return array


def _check_array(array: Array, where: str) -> None:
    if array.metadata.codec and array.metadata.codec not in CODECS:
        raise DataError(f"its codec {array.metadata.codec!r} is not supported", where=where, hint=HINT)
    size = math.prod(array.chunks) * array.dtype.itemsize
    claimed = math.prod(array.shape) * array.dtype.itemsize
    if size > LARGEST:
        raise DataError(f"its chunks have {size:,} bytes each", where=where, hint="Export it with smaller chunks.")
    count = math.prod(-(-side // chunk) for side, chunk in zip(array.shape, array.chunks, strict=True))
    stored = sum(array.sizes.values())
    if claimed > ALWAYS_ALLOWED_BYTES and claimed > MAX_COMPRESSION_RATIO * stored:
        raise DataError(f"it claims {claimed:,} bytes, but only {stored:,} are stored", where=where, hint=HINT)
    if count > max(MAX_EMPTY_CHUNKS, MAX_COMPRESSION_RATIO * len(array.sizes)):
        raise DataError(f"it claims {count:,} chunks", where=where, hint="Export it with larger chunks.")
