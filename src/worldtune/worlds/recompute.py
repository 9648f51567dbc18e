"""Results of a block that are computed again in backward, instead of being kept from the forward pass.

`full`: a block keeps its inputs. `selective`: its self-attention's output too, a small part of its results and most of
its operations (Korthikanti et al., arXiv:2205.05198). Gradients are those of a block that keeps everything, to the bit.
A block's weights need be there only while it computes, in forward and in backward: that is what lets them stay in the
CPU's memory, or in shards on many GPUs.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from worldtune.worlds.attention import KeptAttention
from worldtune.worlds.chunks import leaving_out_last

Mode = Literal["none", "full", "selective"]
Back = Callable[[], Tensor]


def to_host(x: Tensor) -> Back:
    """A copy of `x` in the CPU's memory; what is returned brings it back."""
    device = x.device  # and not `x`, which would stay where it is
    there = torch.empty(x.shape, dtype=x.dtype, pin_memory=x.is_cuda).copy_(x, non_blocking=True)
    return lambda: there.to(device, non_blocking=True)


@dataclass(frozen=True)
class Recompute:
    """What is computed again: in every `every`-th block, by `mode`; `away` sends its input elsewhere meanwhile."""

    mode: Mode = "none"
    every: int = 1
    away: Callable[[Tensor], Back] | None = None

    def of_block(self, number: int) -> bool:
        return self.mode != "none" and number % self.every == 0 and torch.is_grad_enabled()


def recomputed(
    compute: Callable[..., Tensor],
    parts: Sequence[Tensor],
    parameters: Sequence[Tensor],
    how: Recompute,
    visit: Callable[[], AbstractContextManager[None]],
) -> Tensor:
    """`compute(*parts)`, computed again in backward; both times within `visit()`.

    The first of `parts` is the large one. `parameters` are those within `compute` that are trained.
    """
    return _Recomputed.apply(compute, how, visit, len(parts), *parts, *parameters)  # type: ignore[no-untyped-call]


def _nothing(_: Any) -> Any:
    """Takes the place of what a graph keeps."""


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Any, how: Recompute, visit: Any, count: int, *tensors: Tensor) -> Tensor:
        first, *others = tensors
        ctx.compute, ctx.visit, ctx.count = compute, visit, count
        ctx.back = how.away(first) if how.away else None
        ctx.save_for_backward(*(others if how.away else tensors))
        ctx.again = nullcontext()
        with visit(), ExitStack() as within:
            if how.mode == "selective":
                kept: list[Any] = []
                ctx.again = KeptAttention(kept, again=True)
                # An attention returns what its backward needs where there is a graph; of the graph nothing is kept.
                within.enter_context(torch.enable_grad())
                within.enter_context(torch.autograd.graph.saved_tensors_hooks(_nothing, _nothing))
                within.enter_context(KeptAttention(kept, again=False))
                parts = _leaves(tensors[:count], ctx.needs_input_grad[4 : 4 + count])
                return compute(*parts).detach()
            return compute(*tensors[:count])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        tensors = (ctx.back(), *ctx.saved_tensors) if ctx.back else ctx.saved_tensors
        wanted = ctx.needs_input_grad[4 : 4 + ctx.count]
        parts, parameters = _leaves(tensors[: ctx.count], wanted), tensors[ctx.count :]
        with ctx.visit():
            with torch.enable_grad(), leaving_out_last(), ctx.again:
                out = ctx.compute(*parts)
            asked = [part for part, want in zip(parts, wanted, strict=True) if want]
            found = torch.autograd.grad(out, [*asked, *parameters], grad)
        of_parts = iter(found[: len(asked)])
        return (None,) * 4 + tuple(next(of_parts) if want else None for want in wanted) + found[len(asked) :]


def _leaves(parts: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    return [part.detach().requires_grad_(want) for part, want in zip(parts, wanted, strict=True)]
