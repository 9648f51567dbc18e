"""The wire format of Protocol Buffers, field by field, without generated code.

Format: protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterator

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5


def parse_fields(data: bytes | memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (number, wire type, value) of each field: an integer, or the bytes. Raise ValueError if it is damaged."""
    view, at = memoryview(data), 0
    while at < len(view):
        tag, at = read_varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = read_varint(view, at)
            yield number, wire, value
            continue
        size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(wire)
        if wire == BYTES:
            size, at = read_varint(view, at)
        if size is None or size > len(view) - at:
            raise ValueError("a message is cut short, or not a Protocol Buffer")
        yield number, wire, view[at : at + size]
        at += size


def read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return the number at `at`, and the position after it. Raise ValueError if the number does not end."""
    value = 0
    for index, byte in enumerate(view[at : at + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    raise ValueError("a number in a message does not end")


def as_number(value: int | memoryview) -> int:
    """Return the value of a varint or fixed32 field. Raise ValueError for another type."""
    if isinstance(value, int):
        return value
    if len(value) != 4:
        raise ValueError("a field has the wrong type")
    return int(struct.unpack("<I", value)[0])


def as_bytes(value: int | memoryview) -> memoryview:
    """Return the value of a field of bytes, text or a message. Raise ValueError for another type."""
    if isinstance(value, int):
        raise ValueError("a field has the wrong type")
    return value
