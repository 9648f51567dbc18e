"""Safetensors read by the format's specification, and tensors in a form that can be compared."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing.oracle import parse_json
from benchmarks.fuzzing.reader import RefusedError
from worldtune.core.files import digest_bytes

NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16",
    "I8": "int8", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
Tensors = dict[str, tuple[str, tuple[int, ...], str]]
"""By name: element type, shape, digest of the bytes."""


def parse_safetensors(path: Path) -> Tensors:
    """Return the tensors of a safetensors file, by its specification (github.com/huggingface/safetensors, README)."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    if not 8 < end <= len(data) or data[8:9] != b"{":
        raise RefusedError("it has no header")
    header = _header(data[8:end])
    header.pop("__metadata__", None)
    found, spans = {}, []
    try:
        for name, entry in header.items():
            (begin, stop), shape = entry["data_offsets"], tuple(entry["shape"])
            size = math.prod(shape) * np.dtype(_numpy_type(NAMES[entry["dtype"]])).itemsize
            if size != stop - begin or min((begin, *shape)) < 0:
                raise RefusedError(f"{name} has another size than its shape")
            found[name] = (NAMES[entry["dtype"]], shape, digest_bytes(data[end + begin : end + stop]))
            spans.append((begin, stop))
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"its header cannot be understood: {error!r}") from error
    if [begin for begin, _ in sorted(spans)] + [len(data) - end] != [0, *(stop for _, stop in sorted(spans))]:
        raise RefusedError("its tensors are not contiguous")
    return found


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = parse_json(text.decode())
    except UnicodeDecodeError as error:
        raise RefusedError("its header is not UTF-8") from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise RefusedError("its header is not an object")
    return header


def _numpy_type(name: str) -> str:
    return {"bfloat16": "int16", "float8_e4m3fn": "int8", "float8_e5m2": "int8"}.get(name, name)


def summarize_tensors(tensors: Mapping[str, Any]) -> Tensors:
    """Return torch's tensors in the same form."""
    import torch

    found = {}
    for name, tensor in tensors.items():
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        found[name] = (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), digest_bytes(raw))
    return found
