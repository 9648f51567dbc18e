"""Foxglove's CompressedImage and RawImage in Protocol Buffers and JSON, with the fields of ROS messages.

Format: schemas/proto/foxglove and schemas/jsonschema of github.com/foxglove/foxglove-sdk.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldtune.core.strict_io import parse_json
from worldtune.data.sources.protobuf import as_bytes, as_number, parse_fields

COMPRESSED, RAW = "foxglove.CompressedImage", "foxglove.RawImage"
FIELDS: dict[str, dict[int, str]] = {
    COMPRESSED: {1: "timestamp", 2: "data", 3: "format"},
    RAW: {1: "timestamp", 2: "width", 3: "height", 4: "encoding", 5: "step", 6: "data"},
}
TEXTS = ("format", "encoding")


@dataclass(frozen=True, eq=False)
class Compressed:
    data: np.ndarray
    format: str
    stamp: int


@dataclass(frozen=True, eq=False)
class Raw:
    data: np.ndarray
    height: int
    width: int
    encoding: str
    step: int
    stamp: int
    is_bigendian: int = 0


def read_message(kind: str, encoding: str, raw: bytes) -> Compressed | Raw:
    """Return the message; `kind` is `COMPRESSED` or `RAW`, `encoding` "protobuf" or "json".

    Raise DataError, ValueError, TypeError or KeyError for a damaged message.
    """
    fields = _of_protobuf(kind, raw) if encoding == "protobuf" else _of_json(kind, raw)
    data = np.frombuffer(fields["data"], np.uint8)
    if kind == COMPRESSED:
        return Compressed(data, fields["format"], fields["timestamp"])
    height, width, step = (int(fields[name]) for name in ("height", "width", "step"))
    return Raw(data, height, width, fields["encoding"], step, fields["timestamp"])


def _of_protobuf(kind: str, raw: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "data": b"",
        "format": "",
        "encoding": "",
        "timestamp": 0,
        "width": 0,
        "height": 0,
        "step": 0,
    }
    for number, _, value in parse_fields(raw):
        name = FIELDS[kind].get(number)
        if name in TEXTS:
            fields[name] = bytes(as_bytes(value)).decode()
        elif name == "data":
            fields[name] = as_bytes(value)
        elif name == "timestamp":
            parts = {part: as_number(part_value) for part, _, part_value in parse_fields(as_bytes(value))}
            fields[name] = parts.get(1, 0) * 1_000_000_000 + parts.get(2, 0)
        elif name is not None:
            fields[name] = as_number(value)
    return fields


def _of_json(kind: str, raw: bytes) -> dict[str, Any]:
    fields = parse_json(raw, "a message")
    time = fields["timestamp"]
    return fields | {
        "data": base64.b64decode(fields["data"], validate=True),
        "timestamp": int(time["sec"]) * 1_000_000_000 + int(time["nsec"]),
    }
