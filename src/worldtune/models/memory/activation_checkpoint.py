"""Activation checkpointing: results of a block are recomputed in backward instead of being kept.

`full`: a block keeps only its inputs. `selective`: it also keeps its self-attention's output, a small part of its
results and most of its operations (Korthikanti et al., arXiv:2205.05198). Gradients equal those of a block that keeps
everything, to the bit. A block's weights are needed only while it computes, in forward and in backward, so they can
stay in the CPU's memory, or in shards on many GPUs.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from worldtune.models.attention import KeptAttention
from worldtune.models.memory.chunked import skipping_last

CheckpointMode = Literal["none", "full", "selective"]
Back = Callable[[], Tensor]


def to_host(x: Tensor) -> Back:
    """Copy `x` to the CPU's memory, and return a function that copies it back."""
    device = x.device  # not `x`, which would then stay on the device
    copy = torch.empty(x.shape, dtype=x.dtype, pin_memory=x.is_cuda).copy_(x, non_blocking=True)
    return lambda: copy.to(device, non_blocking=True)


@dataclass(frozen=True)
class ActivationCheckpoint:
    """The settings: every `every`-th block is recomputed by `mode`; `offload_input` moves its input to other memory."""

    mode: CheckpointMode = "none"
    every: int = 1
    offload_input: Callable[[Tensor], Back] | None = None

    def applies_to(self, number: int) -> bool:
        """Return whether the block with this number is recomputed."""
        return self.mode != "none" and number % self.every == 0 and torch.is_grad_enabled()


def checkpointed(
    compute: Callable[..., Tensor],
    parts: Sequence[Tensor],
    parameters: Sequence[Tensor],
    settings: ActivationCheckpoint,
    resident: Callable[[], AbstractContextManager[None]],
) -> Tensor:
    """Return `compute(*parts)`, which backward recomputes; both computations run inside `resident()`.

    The first of `parts` is the large one. `parameters` are the trained parameters that `compute` uses.
    """
    return _Recomputed.apply(compute, settings, resident, len(parts), *parts, *parameters)  # type: ignore[no-untyped-call]


def _nothing(_: Any) -> Any:
    """Return None, as a hook that keeps no tensor for a graph."""


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, compute: Any, settings: ActivationCheckpoint, resident: Any, count: int, *tensors: Tensor
    ) -> Tensor:
        first, *others = tensors
        ctx.compute, ctx.resident, ctx.count = compute, resident, count
        ctx.back = settings.offload_input(first) if settings.offload_input else None
        ctx.save_for_backward(*(others if settings.offload_input else tensors))
        ctx.again = nullcontext()
        with resident(), ExitStack() as stack:
            if settings.mode == "selective":
                kept: list[Any] = []
                ctx.again = KeptAttention(kept, again=True)
                # Attention returns what its backward needs only if there is a graph; the graph itself keeps no tensor.
                stack.enter_context(torch.enable_grad())
                stack.enter_context(torch.autograd.graph.saved_tensors_hooks(_nothing, _nothing))
                stack.enter_context(KeptAttention(kept, again=False))
                parts = _leaves(tensors[:count], ctx.needs_input_grad[4 : 4 + count])
                return compute(*parts).detach()
            return compute(*tensors[:count])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        tensors = (ctx.back(), *ctx.saved_tensors) if ctx.back else ctx.saved_tensors
        wanted = ctx.needs_input_grad[4 : 4 + ctx.count]
        parts, parameters = _leaves(tensors[: ctx.count], wanted), tensors[ctx.count :]
        with ctx.resident():
            with torch.enable_grad(), skipping_last(), ctx.again:
                out = ctx.compute(*parts)
            leaves = [part for part, want in zip(parts, wanted, strict=True) if want]
            grads = torch.autograd.grad(out, [*leaves, *parameters], grad)
        of_parts = iter(grads[: len(leaves)])
        return (None,) * 4 + tuple(next(of_parts) if want else None for want in wanted) + grads[len(leaves) :]


def _leaves(parts: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    return [part.detach().requires_grad_(want) for part, want in zip(parts, wanted, strict=True)]
