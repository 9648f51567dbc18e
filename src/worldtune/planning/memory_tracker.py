"""Count the bytes of tensors as they come and go: real tensors, or fake ones, which have shapes and no data.

Every storage counts once, as an allocator sees it: from the operation that makes it until its last tensor is gone.
Scratch memory inside operations is not counted, except in the backward pass of a GPU's attention, which sums the
queries' gradients in fp32 (FlashAttention 2, arXiv:2307.08691).
"""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from worldtune.models.memory.chunked import as_on_gpu, slices_by
from worldtune.planning.few_slices import FewSlices

ATTENTION_BACKWARD: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


class MemoryTracker(TorchDispatchMode):
    """A counter of the `live` bytes of tensors made inside its block, and of their `peak` since `mark`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((*args, *kwargs.values())):
            self._known.add(tensor.untyped_storage())
        out = func(*args, **kwargs)
        for tensor in _tensors((out,)):
            self._count(tensor)
        if func is ATTENTION_BACKWARD and args[1].dtype != torch.float32:
            self.peak = max(self.peak, self.live + 4 * args[1].numel())
        return out

    def mark(self) -> int:
        """Start a new peak at the live bytes, and return them."""
        self.peak = self.live
        return self.live

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._known:
            self._known.add(storage)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._subtract, storage.nbytes())

    def _subtract(self, count: int) -> None:
        self.live -= count


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among an operation's arguments or results, as `tree_map` does, and many times as fast."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


@contextmanager
def without_data() -> Iterator[MemoryTracker]:
    """Make tensors without data inside the block, and count them. Computations are sliced as on a GPU.

    Of equal slices only a few are computed.
    """
    with FakeTensorMode(), as_on_gpu(), slices_by(FewSlices()), MemoryTracker() as tracker:
        yield tracker


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Give modules that are made inside the block parameters of `dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
