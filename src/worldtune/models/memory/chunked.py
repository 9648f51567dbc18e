"""Compute large intermediate results in slices, in the forward and in the backward pass.

A slice is computed, used and dropped; only its inputs are kept, from which backward recomputes it. Results equal those
of the whole, except for the order of sums in a product.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

WHOLE = 2**24  # elements of the first part up to which slicing does not pay
CHUNK = 2**22  # elements per slice on a CPU: what its caches hold
ON_GPU, LAST_ON_GPU = WHOLE, 6 * 2**20  # on a GPU each launch takes time: as large as a step's memory peak allows
Compute = Callable[..., Tensor]
Slice = list[Tensor]


class EverySlice:
    """The iteration over all slices; a memory plan, whose slices have no data, may skip those that are like others."""

    def results(self, compute: Compute, slices: Sequence[Slice]) -> list[Tensor]:
        """Return `compute` of each slice."""
        return [compute(*parts) for parts in slices]

    def steps(self, slices: Sequence[Slice]) -> Iterator[tuple[int, Slice]]:
        """Return the numbered slices, for a computation that keeps only sums."""
        return enumerate(slices)


class _State(threading.local):
    recomputing = on_gpu = False
    iteration = EverySlice()


_state = _State()


def in_chunks(
    compute: Compute, parts: Sequence[Tensor], dim: int, parameters: Sequence[Tensor] = (), *, last: bool = False
) -> Tensor:
    """Return `compute(*parts)`, by slices of all parts along `dim` if the first part is large.

    `compute` treats all slices alike, and returns slices of the same length. `parameters` are the trained parameters
    that it uses. `last`: backward needs nothing after it, so a checkpoint's recomputation may skip it.
    """
    if parts[0].numel() <= WHOLE or torch.compiler.is_compiling():  # a compiled graph would grow with every slice
        return compute(*parts)
    size = max(1, parts[0].shape[dim] * _elements(parts[0].device, last) // parts[0].numel())
    if torch.is_grad_enabled():
        arguments = (compute, dim, size, last, len(parts), *parts, *parameters)
        return _InChunks.apply(*arguments)  # type: ignore[no-untyped-call]
    return _joined(compute, parts, dim, size)


def skipping_last() -> AbstractContextManager[None]:
    """Return a context in which results of `last` parts, which nothing uses, are not computed."""
    return _within("recomputing")


def as_on_gpu() -> AbstractContextManager[None]:
    """Return a context in which slices are as large as on a GPU, for planning one."""
    return _within("on_gpu")


def slices_by(iteration: EverySlice) -> AbstractContextManager[None]:
    """Return a context in which `iteration` iterates over the slices."""
    return _within("iteration", iteration)


@contextmanager
def _within(state: Literal["recomputing", "on_gpu", "iteration"], value: bool | EverySlice = True) -> Iterator[None]:
    """Set a field of the thread's state inside the context."""
    before = getattr(_state, state)
    setattr(_state, state, value)
    try:
        yield
    finally:
        setattr(_state, state, before)


def _elements(device: torch.device, last: bool) -> int:
    if device.type == "cpu" and not _state.on_gpu:
        return CHUNK
    return LAST_ON_GPU if last else ON_GPU


def _slices(parts: Sequence[Tensor], dim: int, size: int) -> list[Slice]:
    return list(map(list, zip(*(part.split(size, dim) for part in parts), strict=True)))


def _joined(compute: Compute, parts: Sequence[Tensor], dim: int, size: int) -> Tensor:
    return torch.cat(_state.iteration.results(compute, _slices(parts, dim, size)), dim)


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
        for number, (g, *chunk) in _state.iteration.steps(_slices([grad, *parts], ctx.dim, ctx.size)):
            leaves = [part.detach().requires_grad_(want) for part, want in zip(chunk, wanted, strict=True)]
            with torch.enable_grad():
                out = ctx.compute(*leaves)
            differentiated = [leaf for leaf in leaves if leaf.requires_grad]
            found = torch.autograd.grad(out, [*differentiated, *parameters], g)
            of_parts = iter(found[: len(differentiated)])
            for whole in grads:
                if whole is not None:
                    whole.narrow(ctx.dim, number * ctx.size, g.shape[ctx.dim]).copy_(next(of_parts))
            for total, more in zip(sums, found[len(differentiated) :], strict=True):
                total += more
        return (None, None, None, None, None, *grads, *sums)
