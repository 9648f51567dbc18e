"""Find NaN and infinity in tensors from files, reading each tensor once."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from worldtune.core.stored_tensors import StoredTensor

if TYPE_CHECKING:
    from torch import Tensor


def find_non_finite(tensors: "Mapping[str, Tensor]") -> Iterator[str]:
    """Yield the names of the tensors that hold NaN or infinity."""
    return (name for name, tensor in tensors.items() if not is_finite(tensor))


def is_finite(tensor: "Tensor | StoredTensor") -> bool:
    """Return whether every value is finite. Integers and tensors without data count as finite.

    A finite sum means that all values are finite. If the sum is not, it may have overflowed: then check every value.
    """
    if isinstance(tensor, StoredTensor):
        return tensor.is_finite()
    if tensor.is_meta or not tensor.is_floating_point():
        return True
    values = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # fp8 has no arithmetic
    return bool(values.sum().isfinite() or values.isfinite().all())
