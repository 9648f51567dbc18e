"""Tensors as stored in a safetensors file: type, shape and bits. Works without torch, whose import takes a second.

Format: github.com/huggingface/safetensors, README.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class _Float(NamedTuple):
    """The bits of a floating-point type; NaN and infinity have all bits of `exponent` set."""

    name: str
    bits: str
    exponent: int


_FLOATS = {
    "F64": _Float("float64", "<u8", 0x7FF0_0000_0000_0000),
    "F32": _Float("float32", "<u4", 0x7F80_0000),
    "F16": _Float("float16", "<u2", 0x7C00),
    "BF16": _Float("bfloat16", "<u2", 0x7F80),
}
_WHOLE = {
    "I64": ("int64", "<i8"), "I32": ("int32", "<i4"), "I16": ("int16", "<i2"), "I8": ("int8", "i1"),
    "U8": ("uint8", "u1"), "BOOL": ("bool", "?"),
}  # fmt: skip
KNOWN = frozenset([*_FLOATS, *_WHOLE])
"""The types of safetensors that this module reads; the others need torch."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor for inspection, not for computation, with torch's names for its properties and checks."""

    kind: str
    shape: tuple[int, ...]
    data: Any

    @property
    def dtype(self) -> str:
        """The type's name, as torch prints it."""
        return f"torch.{_FLOATS[self.kind].name if self.is_floating_point() else _WHOLE[self.kind][0]}"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def numel(self) -> int:
        return prod(self.shape)

    def is_floating_point(self) -> bool:
        return self.kind in _FLOATS

    def flatten(self) -> "StoredTensor":
        return StoredTensor(self.kind, (self.numel(),), self.data)

    def is_finite(self) -> bool:
        """Return whether no value is NaN or infinite."""
        if not self.is_floating_point():
            return True
        exponent = self._bits.dtype.type(_FLOATS[self.kind].exponent)
        return not ((self._bits & exponent) == exponent).any()

    def any(self) -> bool:
        """Return whether any value is not zero; -0.0 counts as zero."""
        if not self.is_floating_point():
            return bool(self._bits.any())
        return bool((self._bits << self._bits.dtype.type(1)).any())  # drops the sign bit

    def __float__(self) -> float:
        """Return the value of a tensor with one element."""
        if self.kind == "BF16":
            return float((self._bits.astype("<u4") << np.uint32(16)).view("<f4").item())
        bits = self._bits
        return float((bits.view(bits.dtype.str.replace("u", "f")) if self.is_floating_point() else bits).item())

    @cached_property
    def _bits(self) -> NDArray[Any]:
        stored = _FLOATS[self.kind].bits if self.is_floating_point() else _WHOLE[self.kind][1]
        return np.frombuffer(self.data, stored, self.numel())


def stored_tensors(header: Mapping[str, Any], values: Any) -> dict[str, StoredTensor] | None:
    """Return every tensor of a valid safetensors header and the `values` after it; None if one has another type."""
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if any(entry["dtype"] not in KNOWN for entry in entries.values()):
        return None
    return {
        name: StoredTensor(entry["dtype"], tuple(entry["shape"]), values[slice(*entry["data_offsets"])])
        for name, entry in entries.items()
    }
