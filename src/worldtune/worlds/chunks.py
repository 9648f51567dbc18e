"""Large intermediate results a slice at a time, in the forward pass and in the backward one.

A slice is computed, used and forgotten; for backward it is computed again from its inputs, which are all that is kept.
The numbers are those of the whole at once, but for the order in which a product sums.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

WHOLE = 2**24  # elements of the first part that are not worth slicing
CHUNK = 2**22  # of it in a slice: what a CPU's caches hold
ON_GPU, LAST_ON_GPU = WHOLE, 6 * 2**20  # there each operation waits to be launched; as large as a step's peak allows
Compute = Callable[..., Tensor]


class _State(threading.local):
    recomputing = on_gpu = False


_state = _State()


def in_chunks(
    compute: Compute, parts: Sequence[Tensor], dim: int, parameters: Sequence[Tensor] = (), *, last: bool = False
) -> Tensor:
    """`compute(*parts)`, by slices of all parts along `dim` where the first part is large.

    `compute` treats its slices alike, and returns as long a slice. `parameters` are those within `compute` that are
    trained. `last`: nothing is kept for backward after it, so that a checkpoint's recomputation may leave it out.
    """
    if parts[0].numel() <= WHOLE or torch.compiler.is_compiling():  # whose graph would grow with every slice
        return compute(*parts)
    size = max(1, parts[0].shape[dim] * _elements(parts[0].device, last) // parts[0].numel())
    if torch.is_grad_enabled():
        arguments = (compute, dim, size, last, len(parts), *parts, *parameters)
        return _InChunks.apply(*arguments)  # type: ignore[no-untyped-call]
    return _joined(compute, parts, dim, size)


def leaving_out_last() -> AbstractContextManager[None]:
    """Within, `last` parts are not computed: their result is wanted by nobody."""
    return _within("recomputing")


def as_on_gpu() -> AbstractContextManager[None]:
    """Within, slices are as large as on a GPU, wherever they are: for what plans one."""
    return _within("on_gpu")


@contextmanager
def _within(state: Literal["recomputing", "on_gpu"]) -> Iterator[None]:
    before = getattr(_state, state)
    setattr(_state, state, True)
    try:
        yield
    finally:
        setattr(_state, state, before)


def _elements(device: torch.device, last: bool) -> int:
    if device.type == "cpu" and not _state.on_gpu:
        return CHUNK
    return LAST_ON_GPU if last else ON_GPU


def _slices(parts: Sequence[Tensor], dim: int, size: int) -> Iterator[list[Tensor]]:
    yield from map(list, zip(*(part.split(size, dim) for part in parts), strict=True))


def _joined(compute: Compute, parts: Sequence[Tensor], dim: int, size: int) -> Tensor:
    return torch.cat([compute(*some) for some in _slices(parts, dim, size)], dim)


class _InChunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Compute, dim: int, size: int, last: bool, count: int, *tensors: Tensor) -> Tensor:
        ctx.compute, ctx.dim, ctx.size, ctx.count = compute, dim, size, count
        ctx.save_for_backward(*tensors)
        if last and _state.recomputing:
            return tensors[0].new_empty(1).expand_as(tensors[0])
        return _joined(compute, tensors[:count], dim, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        parts, parameters = tensors[: ctx.count], tensors[ctx.count :]
        wanted = ctx.needs_input_grad[5 : 5 + ctx.count]
        grads = [torch.empty_like(part) if want else None for part, want in zip(parts, wanted, strict=True)]
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        begin = 0
        for some, g in zip(_slices(parts, ctx.dim, ctx.size), grad.split(ctx.size, ctx.dim), strict=True):
            leaves = [part.detach().requires_grad_(want) for part, want in zip(some, wanted, strict=True)]
            with torch.enable_grad():
                out = ctx.compute(*leaves)
            asked = [leaf for leaf in leaves if leaf.requires_grad]
            found = torch.autograd.grad(out, [*asked, *parameters], g)
            of_parts = iter(found[: len(asked)])
            for whole in grads:
                if whole is not None:
                    whole.narrow(ctx.dim, begin, g.shape[ctx.dim]).copy_(next(of_parts))
            for total, more in zip(sums, found[len(asked) :], strict=True):
                total += more
            begin += g.shape[ctx.dim]
        return (None, None, None, None, None, *grads, *sums)
