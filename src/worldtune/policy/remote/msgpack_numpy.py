"""The wire form of openpi's policy server: msgpack, with NumPy arrays and scalars as maps.

Format: github.com/Physical-Intelligence/openpi, `openpi_client/msgpack_numpy.py` (Apache-2.0). An array is
{b"__ndarray__": true, b"data": bytes, b"dtype": text, b"shape": [...]}, a scalar {b"__npgeneric__": true, b"data":
value, b"dtype": text}. Arrays of objects, records and complex numbers are rejected, so that no message runs code.
"""

import math
from typing import Any

import msgpack
import numpy as np

from worldtune.errors import first_line

DTYPE_KINDS = "biufSU"


def pack(value: Any) -> bytes:
    """Return the message. Raise ValueError for an array that the form does not have."""
    return msgpack.packb(value, default=_encode)


def unpack(message: bytes) -> Any:
    """Return the value of a message. Raise ValueError if it is damaged."""
    try:
        return msgpack.unpackb(message, object_hook=_decode)
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"not a message of openpi's form: {first_line(error)}") from error


def _encode(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic):
        raise ValueError(f"{type(value).__name__} cannot be sent")
    if value.dtype.kind not in DTYPE_KINDS:
        raise ValueError(f"arrays of {value.dtype} cannot be sent")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def _decode(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        dtype, shape = _dtype(value[b"dtype"]), [int(size) for size in value[b"shape"]]
        if len(value[b"data"]) != math.prod(shape) * dtype.itemsize or any(size < 0 for size in shape):
            raise ValueError(f"an array of {dtype} {shape} has {len(value[b'data'])} bytes")
        return np.frombuffer(value[b"data"], dtype).reshape(shape)
    if b"__npgeneric__" in value:
        return _dtype(value[b"dtype"]).type(value[b"data"])
    return value


def _dtype(name: str) -> "np.dtype[Any]":
    dtype = np.dtype(name)
    if dtype.kind not in DTYPE_KINDS:
        raise ValueError(f"arrays of {dtype} cannot be received")
    return dtype
