"""Two real processes share a clip's tokens over gloo: the tensors they hold and send, and equal gradients.

Shapes: as in `context_parallel`.
"""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.ranks import by_ranks
from worldtune.errors import RecipeError
from worldtune.models.load import open_world
from worldtune.models.memory.context_parallel import ContextParallel
from worldtune.models.transformer.denoiser import Execution

SHARING = """
import sys, torch, torch.distributed as dist, torch.nn.functional as F
from worldtune.models.memory.context_parallel import ContextParallel

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
context = ContextParallel(dist.group.WORLD, rank, size)
B, T, S, D, H = 2, 3, 4, 12, 4
generator = torch.Generator().manual_seed(0)
x_BTSD = torch.randn(B, T, S, D, generator=generator, dtype=torch.float64)
w_DD, v_DD = (torch.randn(D, D, generator=generator, dtype=torch.float64) for _ in range(2))
weigh = torch.linspace(-1, 1, x_BTSD.numel(), dtype=torch.float64).view_as(x_BTSD)

def heads(x_BTSD):
    return x_BTSD.flatten(1, 2).unflatten(2, (H, -1)).transpose(1, 2)

def tokens(x_BHNE, frames):
    return x_BHNE.transpose(1, 2).flatten(2).unflatten(1, (frames, -1))

own_BTSD = context.local_tokens(x_BTSD)
x_BHNE, own_BHNE = heads(x_BTSD), heads(own_BTSD)
sent = context.by_head(own_BHNE)
order = torch.cat([heads(part) for part in x_BTSD.chunk(size, 2)], 2)  # each process's tokens, one after the other
assert torch.equal(sent, order.chunk(size, 1)[rank]), "all tokens of its own heads"
assert torch.equal(context.by_token(sent), own_BHNE), "by_token undoes by_head"
assert torch.equal(context.by_head(context.by_token(sent)), sent), "and by_head by_token"
assert torch.equal(context.gather_tokens(own_BTSD), x_BTSD), "gather_tokens undoes local_tokens"
parts = torch.arange(size * 3.0).view(size, 3) + 100 * rank
expected = torch.stack([torch.arange(size * 3.0).view(size, 3)[rank] + 100 * other for other in range(size)])
assert torch.equal(context.exchange(parts), expected), "part i goes to process i"

def attend(x_BTSD, w_DD, v_DD, context=None):
    turned = [heads(x_BTSD @ w_DD), heads(x_BTSD @ v_DD), heads(x_BTSD)]
    if context:
        turned = [context.by_head(one) for one in turned]
    mixed = F.scaled_dot_product_attention(*turned)
    return tokens(context.by_token(mixed) if context else mixed, T)

def gradients(context=None):
    leaves = [tensor.clone().requires_grad_() for tensor in (x_BTSD, w_DD, v_DD)]
    x, w, v = leaves
    y = attend(context.local_tokens(x) if context else x, w, v, context)
    y = y + y.sin() @ v
    y = context.gather_tokens(y) if context else y
    (y * weigh).sum().backward()
    for leaf in leaves:
        if context:
            dist.all_reduce(leaf.grad)
    return [y.detach(), *(leaf.grad for leaf in leaves)]

for ours, whole in zip(gradients(context), gradients(), strict=True):
    torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-12)
dist.destroy_process_group()
print("done")
"""


def test_two_processes_have_the_gradients_of_one() -> None:
    for code, output, errors in by_ranks(SHARING):
        assert (code, output) == (0, "done\n"), errors


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
def test_tokens_and_their_positions_are_split_alike(size: int, frames: int, share: int, clips: int) -> None:
    """Each process has a part of every frame, and the rows of the position table for its tokens."""
    number_TS = torch.arange(frames * share * size).view(frames, -1)
    x_BTSD = number_TS[None, ..., None].expand(clips, -1, -1, 2)
    table_NE = number_TS.flatten()[:, None].expand(-1, 3)
    seen = []
    for rank in range(size):
        context = ContextParallel(None, rank, size)
        own_BTSD = context.local_tokens(x_BTSD)
        assert own_BTSD.shape == (clips, frames, share, 2)
        assert torch.equal(context.local_positions(table_NE, frames)[:, 0], own_BTSD[0, ..., 0].flatten())
        seen.append(own_BTSD)
    assert torch.equal(torch.cat(seen, 2), x_BTSD)


@given(st.integers(1, 8), st.integers(1, 64), st.integers(1, 32))
def test_uneven_shares_are_refused(size: int, tokens: int, heads: int) -> None:
    context = ContextParallel(None, 0, size)
    if tokens % size == 0 and heads % size == 0:
        context.check_divisible(tokens, heads)
        return
    with pytest.raises(RecipeError) as refused:
        context.check_divisible(tokens, heads)
    assert str(refused.value) == (
        f"{size} processes cannot share {tokens} tokens per frame and {heads} heads evenly "
        "[machine.context_parallel]. Use a number that divides both."
    )


def test_uneven_heads_are_refused_before_computing(tiny_world: Path) -> None:
    world = open_world(str(tiny_world), "meta")
    world.execution = Execution(context=ContextParallel(None, 0, 3))
    x_BCTHW, sigma_BT = torch.zeros(1, 16, 3, 4, 6, device="meta"), torch.zeros(1, 3, device="meta")
    with pytest.raises(RecipeError, match="3 processes cannot share 6 tokens per frame and 2 heads evenly"):
        world.velocity(x_BCTHW, sigma_BT, sigma_BT, world.no_text())
