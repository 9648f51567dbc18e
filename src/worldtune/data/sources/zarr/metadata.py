"""The metadata of a Zarr array, of format 2 (`.zarray`) or 3 (`zarr.json`).

Format: zarr-specs.readthedocs.io, "v2" and "v3".
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldtune.core.strict_io import parse_json
from worldtune.data.sources.zarr.store import Store
from worldtune.errors import DataError, first_line

HINT = "Export it again, with one of the codecs blosc, zstd, lz4, zlib, gzip or imagecodecs_jpegxl."
NUMERIC_DTYPE = re.compile(r"[<>|][biuf][1248]")
DATA_TYPES = (
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)),
)


@dataclass(frozen=True)
class ArrayMetadata:
    """What both formats state of an array. `codec` is "" for unpacked chunks; `order` is "C" or "F".

    `prefix` and `separator` make a chunk's key. A chunk that contains only `fill` may be missing; special values, such
    as NaN, are stated as texts and read as 0. Raise ValueError for sides, an order or a separator that Zarr has not.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    codec: str
    order: str
    prefix: str
    separator: str
    fill: Any

    def __post_init__(self) -> None:
        sides = self.shape + self.chunks
        if len(self.shape) != len(self.chunks) or not self.shape or not all(type(n) is int for n in sides):
            raise ValueError("shape and chunks are not whole numbers")
        in_range = min(self.shape) >= 0 and min(self.chunks) >= 1
        if not in_range or self.order not in ("C", "F") or self.separator not in (".", "/"):
            raise ValueError("shape, chunks, order or separator out of range")
        number = self.dtype.type(self.fill if isinstance(self.fill, int | float | bool) else 0)
        object.__setattr__(self, "fill", number)


def read_metadata(store: Store, name: str) -> ArrayMetadata:
    """Return an array's metadata. Raise DataError if they are not those of a numeric array with at most one codec."""
    key = store.array_file(name)
    where = f"{store.root}/{name}"
    metadata = parse_json(store.read(key, 1 << 20), f"{store.root}/{key}")
    if not isinstance(metadata, dict):
        raise DataError("its metadata are not a mapping", where=where, hint=HINT)
    try:
        return (_parse_format2 if key.endswith(".zarray") else _parse_format3)(metadata, where)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"its metadata are not those of Zarr 2 or 3: {first_line(error)}", where=where, hint=HINT
        ) from error


def _parse_format2(metadata: dict[str, Any], where: str) -> ArrayMetadata:
    compressor, filters = metadata.get("compressor"), metadata.get("filters")
    if not isinstance(metadata["dtype"], str) or not NUMERIC_DTYPE.fullmatch(metadata["dtype"]):
        raise DataError(f"its dtype is {metadata['dtype']!r}", where=where, hint=HINT)
    if filters:
        raise DataError(f"it has filters ({_ids(filters)})", where=where, hint=HINT)
    separator = metadata.get("dimension_separator", ".")
    codec = "" if compressor is None else str(compressor["id"])
    return ArrayMetadata(
        shape=tuple(metadata["shape"]),
        chunks=tuple(metadata["chunks"]),
        dtype=np.dtype(metadata["dtype"]),
        codec=codec,
        order=metadata["order"],
        prefix="",
        separator=separator,
        fill=metadata.get("fill_value"),
    )


def _parse_format3(metadata: dict[str, Any], where: str) -> ArrayMetadata:
    encoding, grid = metadata["chunk_key_encoding"], metadata["chunk_grid"]
    configuration = {"separator": "/" if encoding["name"] == "default" else "."} | encoding.get("configuration", {})
    separator = configuration.pop("separator")
    if configuration:
        raise ValueError(f"chunk_key_encoding has {', '.join(configuration)}")
    codecs = [(entry["name"], entry.get("configuration", {})) for entry in metadata["codecs"]]
    endian = "<"
    if codecs and codecs[0][0] == "bytes":
        endian = ">" if codecs.pop(0)[1].get("endian") == "big" else "<"
    names = [str(codec).removeprefix("numcodecs.") for codec, _ in codecs]
    if metadata["data_type"] not in DATA_TYPES or grid["name"] != "regular" or len(names) > 1:
        what = f"{metadata['data_type']!r} in a {grid['name']} grid, packed by {' + '.join(names) or 'nothing'}"
        raise DataError(f"it is {what}", where=where, hint=HINT)
    prefix = f"c{separator}" if encoding["name"] == "default" else ""
    return ArrayMetadata(
        shape=tuple(metadata["shape"]),
        chunks=tuple(grid["configuration"]["chunk_shape"]),
        dtype=np.dtype(metadata["data_type"]).newbyteorder(endian),
        codec=names[0] if names else "",
        order="C",
        prefix=prefix,
        separator=separator,
        fill=metadata.get("fill_value"),
    )


def _ids(filters: Any) -> str:
    return ", ".join(str(entry.get("id")) if isinstance(entry, dict) else "?" for entry in filters)
