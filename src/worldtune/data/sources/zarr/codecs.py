"""Codecs of Zarr chunks, without those that run code: numcodecs' Pickle, JSON and object arrays are errors.

The codecs are those of numcodecs.readthedocs.io, and imagecodecs' JPEG XL, which UMI uses for its images
(github.com/real-stanford/universal_manipulation_interface, diffusion_policy/codecs/imagecodecs_numcodecs.py).
"""

import bz2
import lzma
import math
import struct
import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from worldtune.errors import DataError, first_line

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
