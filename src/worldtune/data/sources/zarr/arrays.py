"""Arrays of Zarr groups, formats 2 and 3, read without the zarr package and without codecs that run code.

Format: zarr-specs.readthedocs.io, "v2" and "v3". The codecs are those of numcodecs.readthedocs.io, and imagecodecs'
JPEG XL, which UMI uses for its images (github.com/real-stanford/universal_manipulation_interface,
diffusion_policy/codecs/imagecodecs_numcodecs.py). numcodecs' Pickle, JSON and object arrays are errors.

Shapes: N rows, the first axis.
"""

import bz2
import lzma
import math
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np

from worldtune.core.strict_io import parse_json
from worldtune.data.sources.hdf5.extent import ALWAYS_ALLOWED_BYTES, MAX_COMPRESSION_RATIO
from worldtune.data.sources.zarr.store import Store
from worldtune.errors import DataError, first_line

LARGEST, MAX_EMPTY_CHUNKS = 1 << 30, 1 << 16  # bytes of a chunk; number of chunks that may be missing
HINT = "Export it again, with one of the codecs blosc, zstd, lz4, zlib, gzip or imagecodecs_jpegxl."
NUMERIC_DTYPE = re.compile(r"[<>|][biuf][1248]")
DATA_TYPES = (
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)),
)
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
DECODE_ERRORS = (
    ValueError,
    RuntimeError,
    TypeError,
    EOFError,
    OSError,
    MemoryError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)


@dataclass(frozen=True)
class Array:
    """An array of a store. `codec` is "" for unpacked chunks; `prefix` and `separator` make a chunk's key.

    A chunk that contains only `fill` may be missing.
    """

    store: Store
    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    codec: str
    order: str
    prefix: str
    separator: str
    fill: Any
    sizes: dict[str, int] = field(compare=False, repr=False)

    def key(self, chunk_index: tuple[int, ...]) -> str:
        return f"{self.name}/{self.prefix}{self.separator.join(map(str, chunk_index))}"

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
            return np.full(self.chunks, self.fill, self.dtype)
        data = self.store.read(key, size + ALWAYS_ALLOWED_BYTES)
        try:
            values = decode_chunk(self.codec, data, self.chunks, self.dtype)
            return values.reshape(self.chunks, order="F" if self.order == "F" else "C")
        except DECODE_ERRORS as error:
            what = f"a chunk cannot be unpacked ({self.codec or 'raw'}): {first_line(error)}"
            raise DataError(what, where=f"{self.store.root}/{key}", hint="Copy it again.") from error


def open_array(store: Store, name: str) -> Array:
    """Return an array. Raise DataError if it is not numeric, has an unsupported codec, or claims too much."""
    key = store.array_file(name)
    where = f"{store.root}/{name}"
    metadata = parse_json(store.read(key, 1 << 20), f"{store.root}/{key}")
    if not isinstance(metadata, dict):
        raise DataError("its metadata are not a mapping", where=where, hint=HINT)
    try:
        array = (_parse_format2 if key.endswith(".zarray") else _parse_format3)(store, name, metadata)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"its metadata are not those of Zarr 2 or 3: {first_line(error)}", where=where, hint=HINT
        ) from error
    _check_array(array, where)
    return array


def _parse_format2(store: Store, name: str, metadata: dict[str, Any]) -> Array:
    compressor, filters = metadata.get("compressor"), metadata.get("filters")
    if not isinstance(metadata["dtype"], str) or not NUMERIC_DTYPE.fullmatch(metadata["dtype"]):
        raise DataError(f"its dtype is {metadata['dtype']!r}", where=f"{store.root}/{name}", hint=HINT)
    if filters:
        raise DataError(f"it has filters ({_ids(filters)})", where=f"{store.root}/{name}", hint=HINT)
    separator = metadata.get("dimension_separator", ".")
    codec = "" if compressor is None else str(compressor["id"])
    return _make_array(
        store,
        name,
        metadata["shape"],
        metadata["chunks"],
        metadata["dtype"],
        codec,
        metadata["order"],
        "",
        separator,
        metadata.get("fill_value"),
    )


def _parse_format3(store: Store, name: str, metadata: dict[str, Any]) -> Array:
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
        raise DataError(f"it is {what}", where=f"{store.root}/{name}", hint=HINT)
    dtype = np.dtype(metadata["data_type"]).newbyteorder("<" if endian == "<" else ">").str
    prefix = f"c{separator}" if encoding["name"] == "default" else ""
    codec = names[0] if names else ""
    chunks = grid["configuration"]["chunk_shape"]
    return _make_array(
        store, name, metadata["shape"], chunks, dtype, codec, "C", prefix, separator, metadata.get("fill_value")
    )


def _make_array(
    store: Store,
    name: str,
    shape: Any,
    chunks: Any,
    dtype: str,
    codec: str,
    order: Any,
    prefix: str,
    separator: Any,
    fill: Any,
) -> Array:
    sides, parts = tuple(shape), tuple(chunks)
    if len(sides) != len(parts) or not sides or not all(type(n) is int for n in sides + parts):
        raise ValueError("shape and chunks are not whole numbers")
    if min(sides) < 0 or min(parts) < 1 or order not in ("C", "F") or separator not in (".", "/"):
        raise ValueError("shape, chunks, order or separator out of range")
    kind = np.dtype(dtype)
    number = kind.type(fill if isinstance(fill, int | float | bool) else 0)  # NaN and other special values are texts
    return Array(store, name, sides, parts, kind, codec, order, prefix, separator, number, store.sizes(name))


def _ids(filters: Any) -> str:
    return ", ".join(str(entry.get("id")) if isinstance(entry, dict) else "?" for entry in filters)


def _check_array(array: Array, where: str) -> None:
    if array.codec and array.codec not in CODECS:
        raise DataError(f"its codec {array.codec!r} is not supported", where=where, hint=HINT)
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


def decode_chunk(codec: str, data: bytes, chunks: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return a chunk's values. Raise one of `DECODE_ERRORS` if it is damaged or unpacks to another size."""
    size = math.prod(chunks) * dtype.itemsize
    if codec.startswith("imagecodecs_"):
        return _decode_image(codec, data, chunks, dtype)
    raw = CODECS[codec](data, size) if codec else data
    if len(raw) != size:
        raise ValueError(f"it has {len(raw):,} bytes, not {size:,}")
    return np.frombuffer(raw, dtype)


def _decode_image(codec: str, data: bytes, chunks: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Decode one image per chunk; the decoder writes into an array of its size, whatever size the image claims."""
    imagecodecs = _import_package("imagecodecs")
    sides = tuple(side for side in chunks if side != 1)
    out = np.empty(sides, dtype)
    decode: Callable[..., Any] = getattr(imagecodecs, f"{codec.removeprefix('imagecodecs_')}_decode")
    try:
        return np.asarray(decode(data, out=out))
    except RuntimeError as error:  # imagecodecs' errors are RuntimeErrors
        raise ValueError(first_line(error)) from error


def _stream_decoder(make: Callable[[], Any]) -> Callable[[bytes, int], bytes]:
    def decode(data: bytes, size: int) -> bytes:
        return _decompress_all(make(), data, size)

    return decode


def _decompress_all(decoder: Any, data: bytes, size: int) -> bytes:
    """Unpack at most one byte more than `size`, and raise ValueError unless the stream and its checksum end there."""
    raw = bytes(decoder.decompress(data, size + 1))
    if len(raw) <= size and (not decoder.eof or decoder.unused_data):
        raise ValueError("it is cut short, or continues after its end")
    return raw


def _blosc(data: bytes, size: int) -> bytes:
    """Unpack Blosc after checking its header, which says how much to allocate and how far to read.

    Format: github.com/Blosc/c-blosc, README_CHUNK_FORMAT.rst.
    """
    decode, _, packed = struct.unpack_from("<III", data, 4)
    if (decode, packed) != (size, len(data)):
        raise ValueError("its header states the wrong size")
    return bytes(_import_package("numcodecs.blosc").decompress(data))


def _lz4(data: bytes, size: int) -> bytes:
    """Unpack LZ4 with the size in front, as numcodecs writes it."""
    if struct.unpack_from("<I", data)[0] != size:
        raise ValueError("its header states the wrong size")
    return bytes(_import_package("numcodecs.lz4").decompress(data))


def _zstd(data: bytes, size: int) -> bytes:
    zstd = _import_package(ZSTD)
    try:
        return _decompress_all(zstd.ZstdDecompressor(), data, size)
    except zstd.ZstdError as error:
        raise ValueError(first_line(error)) from error


def _import_package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        what = f"reading this Zarr array needs the {name.split('.')[0]} package"
        raise DataError(what, where="data.path", hint="pip install 'worldtune[umi]'.") from error


CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "blosc": _blosc,
    "lz4": _lz4,
    "zstd": _zstd,
    "zlib": _stream_decoder(lambda: zlib.decompressobj(47)),
    "gzip": _stream_decoder(lambda: zlib.decompressobj(47)),
    "bz2": _stream_decoder(bz2.BZ2Decompressor),
    "lzma": _stream_decoder(lzma.LZMADecompressor),
    "imagecodecs_jpegxl": lambda data, size: data,
    "imagecodecs_jpeg": lambda data, size: data,
    "imagecodecs_png": lambda data, size: data,
    "imagecodecs_webp": lambda data, size: data,
}
