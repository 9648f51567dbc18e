"""A block's MLP, whose activations backward recomputes: they are cheap, and the widest results of a block."""

import weakref

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor


def feed_forward(mlp: FeedForward, x: Tensor) -> Tensor:
    """Return `mlp(x)` of diffusers' two linear layers; backward saves the activation's input, not its output."""
    activation, _, out = mlp.net
    before = activation.proj(x)
    after = activation.gelu(before)
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():  # the compiler decides what to save
        return out(after)

    output = weakref.ref(after)  # the graph holds a reference to `pack`, which must not hold one to the output

    def pack(tensor: Tensor) -> Tensor | None:
        return None if tensor is output() else tensor

    def unpack(packed: Tensor | None) -> Tensor:
        return activation.gelu(before.detach()) if packed is None else packed

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return out(after)
