"""Open ROS recordings: rosbag2 folders, MCAP files and ROS 1 bags, with the `rosbags` package or our own reader.

The package reads only MCAP of the profile ros2; `mcap.py` reads that of ROS 1 and Foxglove.
"""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from worldtune.data.sources.rosbag.limits import check_chunks, limit_unpacking
from worldtune.data.sources.rosbag.mcap import McapReader, is_non_ros2_mcap
from worldtune.data.sources.rosbag.times import header_stamp
from worldtune.errors import DataError, first_line

DECODER_ERRORS = {  # errors of the modules that versions of rosbags use for SQLite and Zstandard
    "apsw": "Error",
    "sqlite3": "Error",
    "backports.zstd": "ZstdError",
    "compression.zstd": "ZstdError",
    "zstandard": "ZstdError",
}


class Connection(Protocol):
    """A topic's messages of one type in a recording; a topic may have several connections."""

    @property
    def topic(self) -> str: ...

    @property
    def msgtype(self) -> str: ...


class BagReader(Protocol):
    """An open recording. `open_bag` turns what its methods raise for a damaged file into a DataError."""

    @property
    def connections(self) -> Collection[Any]: ...

    def messages(
        self, connections: Collection[Any], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Any, int, bytes]]:
        """Yield (connection, time of receipt in ns, message) from `start` on, before `stop`, in order of time."""
        ...

    def deserialize(self, connection: Any, raw: bytes) -> Any: ...

    def stamp(self, connection: Any, raw: bytes) -> int:
        """Return the time in ns in the message's header, 0 if the message is too short."""
        ...


class RosbagsReader:
    """A recording opened by the `rosbags` package."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.connections: Collection[Any] = reader.connections

    def messages(
        self, connections: Collection[Any], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Any, int, bytes]]:
        yield from self._reader.messages(connections=connections, start=start, stop=stop)

    def deserialize(self, connection: Any, raw: bytes) -> Any:
        return self._reader.deserialize(raw, connection.msgtype)

    def stamp(self, connection: Any, raw: bytes) -> int:
        return header_stamp(raw, self._reader.is2)


@contextmanager
def open_bag(bag: Path) -> Iterator[BagReader]:
    """Open a reader. Raise DataError if the package is missing or the recording cannot be read."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        hint = "pip install 'worldtune[sources]'."
        raise DataError("reading ROS recordings needs the rosbags package", where=str(bag), hint=hint) from error
    limit_unpacking()
    try:
        if is_non_ros2_mcap(bag):
            with bag.open("rb") as file:
                yield McapReader(file, bag.stat().st_size)
            return
        with AnyReader([bag], default_typestore=get_typestore(Stores.LATEST)) as reader:
            check_chunks(reader)
            yield RosbagsReader(reader)
    except reader_errors() as error:
        what = f"the recording cannot be read: {first_line(error)}"
        raise DataError(what, where=str(bag), hint="Copy it again, or repair it with `ros2 bag reindex`.") from error


def reader_errors() -> tuple[type[Exception], ...]:
    """Return what the package and its decoders raise for a damaged file, whose lengths and codes may be anything."""
    import struct

    from rosbags.highlevel import AnyReaderError
    from rosbags.rosbag1.reader import ReaderError as Reader1Error
    from rosbags.rosbag2.errors import ReaderError as Reader2Error

    own_errors = (AnyReaderError, Reader1Error, Reader2Error)
    decoders = tuple(
        getattr(sys.modules[module], name) for module, name in DECODER_ERRORS.items() if module in sys.modules
    )
    lengths = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, MemoryError)
    return (*own_errors, *decoders, *lengths, struct.error, RuntimeError, EOFError, OSError)  # RuntimeError: LZ4's
