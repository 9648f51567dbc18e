"""Limits on what the `rosbags` package decompresses: a few bytes can decompress to any number."""

from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from worldtune.errors import DataError

LARGEST, MAX_COMPRESSION_RATIO = 1 << 30, 2000
"""Most decompressed bytes of a part; most decompressed bytes of a file, times its size (at least `LARGEST`)."""
HINT = "Record it again, or convert it with `ros2 bag convert`."


class TooLargeError(RuntimeError):
    """An error for a part that unpacks to more than `LARGEST`."""


def check_chunks(reader: Any) -> None:
    """Raise DataError if a recording's index names a chunk twice, or its chunks claim more than the file holds."""
    for file in _storages(reader):
        chunks = getattr(file, "chunks", None)
        if isinstance(chunks, list) and chunks:  # MCAP
            claimed, size = sum(chunk.uncompressed_size for chunk in chunks), file.path.stat().st_size
            if len({chunk.chunk_start_offset for chunk in chunks}) < len(chunks):
                raise DataError("its index names a chunk twice", where=str(file.path), hint=HINT)
            if claimed > max(LARGEST, MAX_COMPRESSION_RATIO * size):
                what = f"its chunks claim {claimed:,} bytes, but the file has {size:,}"
                raise DataError(what, where=str(file.path), hint=HINT)
        elif isinstance(chunks, dict):  # ROS 1
            budget = _Budget(max(LARGEST, MAX_COMPRESSION_RATIO * file.path.stat().st_size))
            for chunk_position, chunk in chunks.items():
                chunks[chunk_position] = chunk._replace(decompressor=budget.limit(chunk.decompressor))


@cache
def limit_unpacking() -> None:
    """Make the package unpack no part to more than `LARGEST`; its own code unpacks everything at once."""
    mcap: Any = import_module("rosbags.rosbag2.storage_mcap")
    ros1: Any = import_module("rosbags.rosbag1.reader")
    ros2: Any = import_module("rosbags.rosbag2.reader")
    zstd, lz4 = _limit(mcap.zstd.ZstdDecompressor), _limit(import_module("lz4.frame").LZ4FrameDecompressor)
    mcap.DECOMPRESSORS.update(zstd=zstd, lz4=lz4)
    ros1.decompressors.update(bz2=_limit(BZ2Decompressor), lz4=lz4)
    ros2.zstd = SimpleNamespace(open=mcap.zstd.open, decompress=zstd)


def _limit(make: Callable[[], Any]) -> Callable[..., bytes]:
    def unpack(data: bytes, _size: int = 0) -> bytes:
        parts: list[bytes] = []
        remaining = LARGEST
        while data or not parts:
            decompressor = make()
            parts.append(decompressor.decompress(data, max_length=remaining + 1))
            remaining -= len(parts[-1])
            if remaining < 0:
                raise TooLargeError(f"a part of it decompresses to more than {LARGEST:,} bytes")
            if not decompressor.eof:
                raise EOFError("a compressed part is cut short")
            data = decompressor.unused_data or b""
        return b"".join(parts)

    return unpack


class _Budget:
    """The bytes that a ROS 1 recording may still unpack to; alternating messages of two chunks unpack both often."""

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining

    def limit(self, unpack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def unpack_within_budget(data: bytes) -> bytes:
            unpacked = unpack(data)
            self.remaining -= len(unpacked)
            if self.remaining < 0:
                raise TooLargeError("its chunks are decompressed again and again")
            return unpacked

        return unpack_within_budget


def _storages(reader: Any) -> Iterator[Any]:
    """Yield the readers of the recording's files."""
    for file_reader in reader.readers:
        storage = getattr(file_reader, "storage", file_reader)
        yield from getattr(storage, "storages", [storage])
