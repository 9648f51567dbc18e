"""TFRecord files and their tf.train.Example messages, without TensorFlow.

Format: tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details"; tensorflow/core/example/example.proto
and feature.proto.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from worldtune.data.sources.protobuf import VARINT, as_bytes, parse_fields, read_varint
from worldtune.data.sources.rlds.crc32c import crc32c
from worldtune.errors import DataError

CRC_MASK = 0xA282EAD8  # of checksums (CRC-32C)


@dataclass(frozen=True)
class Record:
    """The position of a record's bytes in a file."""

    file: Path
    offset: int
    size: int


@dataclass
class Feature:
    """The values of a name in an Example, in one of three types."""

    bytes_list: list[memoryview] = field(default_factory=list)
    float_list: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    int64_list: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


def read_records(file: Path) -> Iterator[Record]:
    """Yield the file's records in order. Raise DataError at the first one that is damaged or cut short."""
    size, offset = file.stat().st_size, 0
    with file.open("rb") as shard:
        while offset < size:
            shard.seek(offset)
            head = shard.read(12)
            if len(head) < 12:
                raise _cut_short_error(file)
            length, checksum = struct.unpack("<QI", head)
            if _masked_crc(head[:8]) != checksum:
                raise DataError(f"it is damaged at byte {offset:,}", where=str(file), hint="Copy it again.")
            if length > size - offset - 16:
                raise _cut_short_error(file)
            yield Record(file, offset + 12, length)
            offset += 16 + length


def _cut_short_error(file: Path) -> DataError:
    return DataError("the file is cut short", where=str(file), hint="Copy it again.")


def read_example(record: Record) -> dict[str, Feature]:
    """Return the features of the tf.train.Example by name. Raise DataError if it is damaged."""
    with record.file.open("rb") as shard:
        shard.seek(record.offset)
        data, checksum = shard.read(record.size), shard.read(4)
    where = f"{record.file} at byte {record.offset:,}"
    if len(data) >= 4 and int.from_bytes(checksum, "little") != _masked_crc(data):
        raise DataError("a record is damaged: its checksum does not match", where=where, hint="Copy it again.")
    try:
        entries = [entry for _, _, features in parse_fields(data) for _, _, entry in parse_fields(as_bytes(features))]
        return dict(_entry(as_bytes(entry)) for entry in entries)
    except (ValueError, UnicodeDecodeError) as error:
        what = f"a record is not a tf.train.Example: {error}"
        raise DataError(what, where=where, hint="Copy it again.") from error


def _entry(entry: memoryview) -> tuple[str, Feature]:
    """Return the name and the feature of a map entry."""
    name, feature = "", Feature()
    for number, _, value in parse_fields(entry):
        if number == 1:
            name = bytes(as_bytes(value)).decode()
            continue
        for kind, _, values in parse_fields(as_bytes(value)):
            _fill(feature, kind, as_bytes(values))
    return name, feature


def _fill(feature: Feature, kind: int, values: memoryview) -> None:
    """Fill the feature from a BytesList (1), FloatList (2) or Int64List (3); numbers are packed, or one per field."""
    parts = [(wire, value) for number, wire, value in parse_fields(values) if number == 1]
    if kind == 1:
        feature.bytes_list = [as_bytes(value) for _, value in parts]
    elif kind == 2:
        feature.float_list = np.frombuffer(b"".join(as_bytes(value) for _, value in parts), "<f4")
    elif kind == 3:
        numbers = [n for wire, value in parts for n in ([value] if wire == VARINT else _varints(as_bytes(value)))]
        feature.int64_list = np.asarray(numbers, np.uint64).astype(np.int64)


def _varints(packed: memoryview) -> Iterator[int]:
    offset = 0
    while offset < len(packed):
        value, offset = read_varint(packed, offset)
        yield value & 0xFFFF_FFFF_FFFF_FFFF


def _masked_crc(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + CRC_MASK) & 0xFFFF_FFFF
