"""A block's MLP, whose activations backward computes again: they are cheap, and the widest results of a block."""

import weakref

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor


def feed_forward(mlp: FeedForward, x: Tensor) -> Tensor:
    """`mlp(x)` of diffusers' two linear layers; for backward the activation's input is kept, and not its output."""
    activation, _, out = mlp.net
    before = activation.proj(x)
    after = activation.gelu(before)
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():  # which chooses itself what it keeps
        return out(after)

    its = weakref.ref(after)  # the graph holds on to `keep`, which must not hold on to the result

    def keep(tensor: Tensor) -> Tensor | None:
        return None if tensor is its() else tensor

    def back(kept: Tensor | None) -> Tensor:
        return activation.gelu(before.detach()) if kept is None else kept

    with torch.autograd.graph.saved_tensors_hooks(keep, back):
        return out(after)
