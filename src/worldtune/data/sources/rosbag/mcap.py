"""MCAP files of profiles other than ros2: ROS 1 messages, and Foxglove's in Protocol Buffers or JSON.

Format: mcap.dev/spec, "registry" for the profiles and encodings. Records are read in file order, not by the index,
which could name the same bytes again and again.
"""

import heapq
import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from worldtune.data.sources.rosbag import foxglove
from worldtune.data.sources.rosbag.limits import LARGEST, MAX_COMPRESSION_RATIO
from worldtune.data.sources.rosbag.times import header_stamp

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, FOOTER = 3, 4, 5, 6, 2
END_OF_TIME = 1 << 63


@dataclass(frozen=True)
class Channel:
    """A topic's messages of one type; `encoding` is their serialization, `definition` the schema's text."""

    number: int
    topic: str
    msgtype: str
    encoding: str
    definition: str


@dataclass(frozen=True)
class MessageBlock:
    """The position of messages: a chunk, or a message outside of a chunk."""

    first: int
    last: int
    offset: int
    size: int
    packed: bool


def is_non_ros2_mcap(path: Path) -> bool:
    """Return whether the path is an MCAP file whose profile is not ros2. Raise OSError if it cannot be read."""
    if path.suffix != ".mcap" or path.is_dir():
        return False
    with path.open("rb") as file:
        head = file.read(64)
    if head[:8] != MAGIC or head[8:9] != b"\x01" or len(head) < 21:
        return False
    size = int.from_bytes(head[17:21], "little")
    return head[21 : 21 + size] != b"ros2"


class McapReader:
    """An open file. Raise ValueError, LookupError, struct.error or EOFError if it is damaged."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Channel] = {}
        self._blocks: list[MessageBlock] = []
        self._stores: dict[int, Any] = {}
        self._scan()

    def _scan(self) -> None:
        self._file.seek(-len(MAGIC), os.SEEK_END)
        if self._file.read() != MAGIC:
            raise EOFError("File end magic is invalid")
        claimed, offset = 0, len(MAGIC)
        while offset < self._size - len(MAGIC):
            code, size = self._record(offset)
            if code in (SCHEMA, CHANNEL):
                self._register(code, self._read(offset + 9, size))
            elif code == CHUNK:
                first, last, unpacked = struct.unpack("<QQQ", self._read(offset + 9, 24))
                claimed += unpacked
                self._blocks.append(MessageBlock(first, last, offset + 9, size, True))
            elif code == MESSAGE:
                (_, _, time) = struct.unpack("<HIQ", self._read(offset + 9, 14))
                self._blocks.append(MessageBlock(time, time, offset + 9, size, False))
            offset += 9 + size
        if claimed > max(LARGEST, MAX_COMPRESSION_RATIO * self._size):
            raise ValueError(f"its chunks claim {claimed:,} bytes, but the file has {self._size:,}")
        if not self._channels:
            for block in self._blocks:
                list(self._messages(block))

    def _record(self, offset: int) -> tuple[int, int]:
        code, size = struct.unpack("<BQ", self._read(offset, 9))
        if size > self._size - offset - 9:
            raise EOFError(f"a record of {size:,} bytes is cut short")
        return code, size

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError("a record is cut short")
        return data

    def _register(self, code: int, data: bytes) -> None:
        """Register a schema or a channel; the summary at the end repeats them."""
        (number,) = struct.unpack_from("<H", data)
        if code == SCHEMA:
            name, rest = _text(data, 2)
            encoding, rest = _text(data, rest)
            self._schemas[number] = name, encoding, _text(data, rest)[0]
            return
        (schema,) = struct.unpack_from("<H", data, 2)
        topic, rest = _text(data, 4)
        name, encoding, definition = self._schemas.get(schema, ("", "", ""))
        if encoding == "ros1msg" and name.count("/") == 1:
            name = name.replace("/", "/msg/")
        self._channels[number] = Channel(number, topic, name, _text(data, rest)[0], definition)

    @property
    def connections(self) -> list[Channel]:
        return list(self._channels.values())

    def messages(
        self, connections: Collection[Channel], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield the messages in the order received; a chunk is decompressed when its first message is due."""
        wanted = {channel.number for channel in connections}
        begin, end = 0 if start is None else start, END_OF_TIME if stop is None else stop
        overlapping = [
            block
            for block in sorted(self._blocks, key=lambda block: block.first)
            if block.last >= begin and block.first < end
        ]
        pending: list[tuple[int, int, int, bytes]] = []
        count = 0
        for block in [*overlapping, None]:
            while pending and (block is None or pending[0][0] < block.first):
                time, _, number, raw = heapq.heappop(pending)
                yield self._channels[number], time, raw
            for number, time, raw in self._messages(block) if block else ():
                if number not in self._channels:
                    raise ValueError(f"a message is of channel {number}, which is not defined")
                if number in wanted and begin <= time < end:
                    heapq.heappush(pending, (time, count, number, raw))
                    count += 1

    def _messages(self, block: MessageBlock) -> Iterator[tuple[int, int, bytes]]:
        data = self._read(block.offset, block.size)
        if not block.packed:
            number, _, time, _ = struct.unpack_from("<HIQQ", data)
            yield number, time, data[22:]
            return
        unpacked, offset = _decompress_chunk(data), 0
        while offset < len(unpacked):
            code, size = struct.unpack_from("<BQ", unpacked, offset)
            record = unpacked[offset + 9 : offset + 9 + size]
            if len(record) < size:
                raise EOFError("a record in a chunk is cut short")
            offset += 9 + size
            if code in (SCHEMA, CHANNEL):
                self._register(code, record)
            elif code == MESSAGE:
                number, _, time, _ = struct.unpack_from("<HIQQ", record)
                yield number, time, record[22:]

    def deserialize(self, connection: Channel, raw: bytes) -> Any:
        """Return a ROS message, or Foxglove's image."""
        if connection.encoding in ("protobuf", "json"):
            return foxglove.read_message(connection.msgtype, connection.encoding, raw)
        store = self._type_store(connection)
        if connection.encoding == "ros1":
            return store.deserialize_ros1(raw, connection.msgtype)
        return store.deserialize_cdr(raw, connection.msgtype)

    def _type_store(self, connection: Channel) -> Any:
        """Return the types that the schema defines."""
        if connection.number not in self._stores:
            typesys: Any = import_module("rosbags.typesys")
            store = typesys.get_typestore(typesys.Stores.EMPTY)
            store.register(typesys.get_types_from_msg(connection.definition, connection.msgtype))
            self._stores[connection.number] = store
        return self._stores[connection.number]

    def stamp(self, connection: Channel, raw: bytes) -> int:
        if connection.encoding in ("protobuf", "json"):
            return foxglove.read_message(connection.msgtype, connection.encoding, raw).stamp
        if connection.encoding == "ros1" and connection.msgtype.startswith("foxglove_msgs/"):
            raw = bytes(4) + raw  # a Header has a number before the time; here the time is first
        return header_stamp(raw, connection.encoding != "ros1")


def _text(data: bytes, offset: int) -> tuple[str, int]:
    """Return the text that begins at `offset`, and the position after it."""
    (size,) = struct.unpack_from("<I", data, offset)
    if size > len(data) - offset - 4:
        raise EOFError("a text is cut short")
    return data[offset + 4 : offset + 4 + size].decode("utf-8", "replace"), offset + 4 + size


def _decompress_chunk(data: bytes) -> bytes:
    """Return a chunk's records; `limits.limit_unpacking` bounds how much the decompressors return."""
    mcap: Any = import_module("rosbags.rosbag2.storage_mcap")
    _, _, size, crc = struct.unpack_from("<QQQI", data)
    compression, offset = _text(data, 28)
    (packed,) = struct.unpack_from("<Q", data, offset)
    return bytes(mcap.decompress(data[offset + 8 : offset + 8 + packed], compression, size, crc))
