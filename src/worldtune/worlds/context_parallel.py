"""Context parallelism: several processes share one clip's tokens, a part of every latent frame each.

All of a block but self-attention looks at one token at a time. For self-attention each process takes some of the heads
and all tokens, and gives the results back (DeepSpeed-Ulysses, arXiv:2309.14509): every head's sums are those of one
process. A parameter's gradient is then the sum over the processes.

Shapes: B clips, T latent frames, S tokens a frame, D features; of attention H heads, N tokens, E a head's width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from worldtune.errors import RecipeError


@dataclass(frozen=True)
class Context:
    """The processes that share a clip: a torch.distributed group, and this one's place in it."""

    group: Any
    rank: int
    size: int

    def refuse(self, tokens: int, heads: int) -> None:
        """Raises RecipeError when a frame's tokens or the heads cannot be shared out evenly."""
        if tokens % self.size or heads % self.size:
            what = f"{tokens} tokens a frame and {heads} heads are not shared evenly by {self.size} processes"
            raise RecipeError(what, where="machine.context", mend="Take a number that divides both.")

    def own(self, x_BTSD: Tensor) -> Tensor:
        """This process's tokens of every frame."""
        return x_BTSD.chunk(self.size, 2)[self.rank]

    def own_positions(self, table_NE: Tensor, frames: int) -> Tensor:
        """The rows of a table of positions that belong to this process's tokens."""
        return self.own(table_NE.unflatten(0, (frames, -1))[None])[0].flatten(0, 1)

    def every(self, x_BTSD: Tensor) -> Tensor:
        """All tokens of every frame from each process's own."""
        return _Every.apply(x_BTSD, self)  # type: ignore[no-untyped-call]

    def by_head(self, x_BHNE: Tensor) -> Tensor:
        """All tokens of this process's heads, from all heads of its tokens."""
        return _ByHead.apply(x_BHNE, self)  # type: ignore[no-untyped-call]

    def by_token(self, x_BHNE: Tensor) -> Tensor:
        """All heads of this process's tokens, from all tokens of its heads."""
        return _ByToken.apply(x_BHNE, self)  # type: ignore[no-untyped-call]

    def exchange(self, parts: Tensor) -> Tensor:
        """Part i of the first dimension goes to process i."""
        received = torch.empty_like(parts)
        dist.all_to_all_single(received, parts.contiguous(), group=self.group)
        return received


def _to_heads(x_BHNE: Tensor, context: Context) -> Tensor:
    parts = torch.stack(x_BHNE.chunk(context.size, 1))
    return torch.cat(context.exchange(parts).unbind(), 2)


def _to_tokens(x_BHNE: Tensor, context: Context) -> Tensor:
    parts = torch.stack(x_BHNE.chunk(context.size, 2))
    return torch.cat(context.exchange(parts).unbind(), 1)


class _ByHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, context: Context) -> Tensor:
        ctx.context = context
        return _to_heads(x, context)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _to_tokens(grad, ctx.context), None


class _ByToken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, context: Context) -> Tensor:
        ctx.context = context
        return _to_tokens(x, context)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _to_heads(grad, ctx.context), None


class _Every(torch.autograd.Function):
    """Backward gives each process its tokens' gradient: all of them have the same loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, context: Context) -> Tensor:
        ctx.context = context
        parts = [torch.empty_like(x) for _ in range(context.size)]
        dist.all_gather(parts, x.contiguous(), group=context.group)
        return torch.cat(parts, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.context.own(grad), None
