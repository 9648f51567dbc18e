"""Bytes of tensors, counted as these come and go: real ones, or fake ones, which have shapes and no data.

What is counted is what an allocator is asked for: every storage once, from the operation that makes it until its last
tensor is gone. Of the scratch memory inside operations only that of a GPU's attention in backward is known: its sums
for the queries, in fp32 (FlashAttention 2, arXiv:2307.08691).
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from worldtune.worlds.chunks import as_on_gpu

ATTENTION_BACKWARD: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


class MemoryMeter(TorchDispatchMode):
    """`live` bytes of the tensors made within, and `peak`, their most since `mark`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tree_map_only(Tensor, lambda tensor: self._known.add(tensor.untyped_storage()), (args, kwargs))
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, out)
        if func is ATTENTION_BACKWARD and args[1].dtype != torch.float32:
            self.peak = max(self.peak, self.live + 4 * args[1].numel())
        return out

    def mark(self) -> int:
        """Begin a new peak; the live bytes it begins with."""
        self.peak = self.live
        return self.live

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._known:
            self._known.add(storage)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, count: int) -> None:
        self.live -= count


@contextmanager
def without_data() -> Iterator[MemoryMeter]:
    """Within, tensors are made without data, and counted; what is computed with them is cut up as on a GPU."""
    with FakeTensorMode(), as_on_gpu(), MemoryMeter() as meter:
        yield meter


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Modules made within have parameters of `dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
