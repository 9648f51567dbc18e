"""How much the `rosbags` package unpacks of a recording: few bytes can unpack to any number."""

from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from worldtune.errors import DataError

LARGEST, DENSEST = 1 << 30, 2000
"""Bytes that a packed part may have once it is unpacked; times its size that a file may unpack to, or to `LARGEST`."""
MEND = "Record it again, or convert it with `ros2 bag convert`."


class TooLargeError(RuntimeError):
    """A packed part is more than `LARGEST`."""


def check_chunks(reader: Any) -> None:
    """Raise DataError if an open recording's index names a packed part twice, or all claim more than the file holds."""
    for file in _inside(reader):
        chunks = getattr(file, "chunks", None)
        if isinstance(chunks, list) and chunks:  # MCAP
            claimed, size = sum(chunk.uncompressed_size for chunk in chunks), file.path.stat().st_size
            if len({chunk.chunk_start_offset for chunk in chunks}) < len(chunks):
                raise DataError("its index names a chunk twice", where=str(file.path), mend=MEND)
            if claimed > max(LARGEST, DENSEST * size):
                what = f"its chunks claim {claimed:,} bytes, the file has {size:,}"
                raise DataError(what, where=str(file.path), mend=MEND)
        elif isinstance(chunks, dict):  # ROS 1
            budget = _Budget(max(LARGEST, DENSEST * file.path.stat().st_size))
            for place, chunk in chunks.items():
                chunks[place] = chunk._replace(decompressor=budget.limited(chunk.decompressor))


@cache
def limit_unpacking() -> None:
    """Have the package unpack no part to more than `LARGEST`. Its own way is all at once, however much that is."""
    mcap: Any = import_module("rosbags.rosbag2.storage_mcap")
    ros1: Any = import_module("rosbags.rosbag1.reader")
    ros2: Any = import_module("rosbags.rosbag2.reader")
    zstd, lz4 = _limited(mcap.zstd.ZstdDecompressor), _limited(import_module("lz4.frame").LZ4FrameDecompressor)
    mcap.DECOMPRESSORS.update(zstd=zstd, lz4=lz4)
    ros1.decompressors.update(bz2=_limited(BZ2Decompressor), lz4=lz4)
    ros2.zstd = SimpleNamespace(open=mcap.zstd.open, decompress=zstd)


def _limited(make: Callable[[], Any]) -> Callable[..., bytes]:
    def unpack(data: bytes, _size: int = 0) -> bytes:
        parts: list[bytes] = []
        left = LARGEST
        while data or not parts:
            one = make()
            parts.append(one.decompress(data, max_length=left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise TooLargeError(f"a part of it unpacks to more than {LARGEST:,} bytes")
            if not one.eof:
                raise EOFError("a packed part is cut short")
            data = one.unused_data or b""
        return b"".join(parts)

    return unpack


class _Budget:
    """How many bytes a ROS 1 recording may yet unpack to: messages of two chunks in turn unpack both over and over."""

    def __init__(self, left: int) -> None:
        self.left = left

    def limited(self, unpack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def spend(data: bytes) -> bytes:
            found = unpack(data)
            self.left -= len(found)
            if self.left < 0:
                raise TooLargeError("its chunks are unpacked again and again")
            return found

        return spend


def _inside(reader: Any) -> Iterator[Any]:
    """The readers of its files."""
    for each in reader.readers:
        storage = getattr(each, "storage", each)
        yield from getattr(storage, "storages", [storage])
