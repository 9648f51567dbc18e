"""Context parallelism: several processes share one clip's tokens; each has a part of every latent frame.

Except for self-attention, a block computes each token separately. For self-attention each process takes some of the
heads with all tokens, and then returns the results (DeepSpeed-Ulysses, arXiv:2309.14509): each head computes the same
sums as in one process. The gradient of a parameter is the sum over the processes.

Shapes: B clips, T latent frames, S tokens per frame, D features; in attention H heads, N tokens, E a head's width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from worldtune.errors import RecipeError


@dataclass(frozen=True)
class ContextParallel:
    """The processes that share a clip: a torch.distributed group, and this process's rank in it."""

    group: Any
    rank: int
    size: int

    def check_divisible(self, tokens: int, heads: int) -> None:
        """Raise RecipeError unless the processes can share a frame's tokens and the heads evenly."""
        if tokens % self.size or heads % self.size:
            what = f"{self.size} processes cannot share {tokens} tokens per frame and {heads} heads evenly"
            raise RecipeError(what, where="machine.context_parallel", hint="Use a number that divides both.")

    def local_tokens(self, x_BTSD: Tensor) -> Tensor:
        """Return this process's tokens of every frame."""
        return x_BTSD.chunk(self.size, 2)[self.rank]

    def local_positions(self, table_NE: Tensor, frames: int) -> Tensor:
        """Return the rows of a table of positions for this process's tokens."""
        return self.local_tokens(table_NE.unflatten(0, (frames, -1))[None])[0].flatten(0, 1)

    def gather_tokens(self, x_BTSD: Tensor) -> Tensor:
        """Return all tokens of every frame, gathered from all processes."""
        return _GatherTokens.apply(x_BTSD, self)  # type: ignore[no-untyped-call]

    def by_head(self, x_BHNE: Tensor) -> Tensor:
        """Exchange all heads of this process's tokens for all tokens of its heads."""
        return _ByHead.apply(x_BHNE, self)  # type: ignore[no-untyped-call]

    def by_token(self, x_BHNE: Tensor) -> Tensor:
        """Exchange all tokens of this process's heads for all heads of its tokens."""
        return _ByToken.apply(x_BHNE, self)  # type: ignore[no-untyped-call]

    def exchange(self, parts: Tensor) -> Tensor:
        """Send part i of the first dimension to process i, and return the received parts."""
        received = torch.empty_like(parts)
        dist.all_to_all_single(received, parts.contiguous(), group=self.group)
        return received


def _to_heads(x_BHNE: Tensor, context: ContextParallel) -> Tensor:
    parts = torch.stack(x_BHNE.chunk(context.size, 1))
    return torch.cat(context.exchange(parts).unbind(), 2)


def _to_tokens(x_BHNE: Tensor, context: ContextParallel) -> Tensor:
    parts = torch.stack(x_BHNE.chunk(context.size, 2))
    return torch.cat(context.exchange(parts).unbind(), 1)


class _ByHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, context: ContextParallel) -> Tensor:
        ctx.context = context
        return _to_heads(x, context)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _to_tokens(grad, ctx.context), None


class _ByToken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, context: ContextParallel) -> Tensor:
        ctx.context = context
        return _to_tokens(x, context)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _to_heads(grad, ctx.context), None


class _GatherTokens(torch.autograd.Function):
    """The gathering of tokens; backward returns the gradient of this process's tokens, as all have the same loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, context: ContextParallel) -> Tensor:
        ctx.context = context
        parts = [torch.empty_like(x) for _ in range(context.size)]
        dist.all_gather(parts, x.contiguous(), group=context.group)
        return torch.cat(parts, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.context.local_tokens(grad), None
