"""A block that is computed again in backward: what it keeps, how often it computes, and the same gradients to the bit.

Shapes: B clips, N tokens, D features, M text tokens.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from worldtune.worlds.attention import attend
from worldtune.worlds.recompute import Back, Mode, Recompute, recomputed, to_host

B, N, M, D = 2, 16, 5, 12
HOWS = [
    Recompute("full"),
    Recompute("selective"),
    Recompute("full", away=to_host),
    Recompute("selective", away=to_host),
]


class Block(nn.Module):
    """Self-attention, attention to text and an MLP; of its weights those of the MLP alone are trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.qkv, self.text = nn.Linear(D, 3 * D), nn.Linear(D, 2 * D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)
        self.qkv.requires_grad_(False)
        self.text.requires_grad_(False)

    def forward(self, x_BND: Tensor, text_BMD: Tensor) -> Tensor:
        queries, keys, values = (part.unsqueeze(1) for part in self.qkv(x_BND).chunk(3, -1))
        x_BND = x_BND + attend(queries, keys, values)[:, 0]
        keys, values = (part.unsqueeze(1) for part in self.text(text_BMD).chunk(2, -1))
        x_BND = x_BND + attend(x_BND.unsqueeze(1), keys, values)[:, 0]
        return x_BND + self.down(F.gelu(self.up(x_BND)))

    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


class Counted(TorchDispatchMode):
    """How often self-attention, attention to text and the MLP's activation are computed, and their backward."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        if name.startswith("_scaled_dot_product") and not name.endswith("backward"):
            self.calls["self" if args[0].shape == args[1].shape else "text"] += 1
        if name in ("gelu", "gelu_backward") or name.endswith("attention_for_cpu_backward"):
            self.calls[name] += 1
        return func(*args, **(kwargs or {}))


def inputs(*, learns: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x_BND = torch.randn(B, N, D, generator=generator, requires_grad=learns)
    return x_BND, torch.randn(B, M, D, generator=generator)


def two_blocks(
    how: Recompute | None, visit: Callable[[], AbstractContextManager[None]] = nullcontext, *, learns: bool = True
) -> list[Tensor]:
    """The output of two blocks, and every gradient."""
    blocks, (x_BND, text_BMD) = [Block(), Block()], inputs(learns=learns)
    y_BND = x_BND
    for block in blocks:
        parts = (y_BND, text_BMD)
        y_BND = recomputed(block, parts, block.trained(), how, visit) if how else block(*parts)
    (y_BND * torch.linspace(-1, 1, y_BND.numel()).view_as(y_BND)).sum().backward()
    assert (x_BND.grad is not None) is learns
    return [y_BND.detach(), *([x_BND.grad] if x_BND.grad is not None else [])] + [
        parameter.grad for block in blocks for parameter in block.trained() if parameter.grad is not None
    ]


@pytest.mark.parametrize("learns", [True, False], ids=["inputs learn", "weights alone learn"])
@pytest.mark.parametrize("how", HOWS, ids=["full", "selective", "full, away", "selective, away"])
def test_gradients_are_the_same_to_the_bit(how: Recompute, learns: bool) -> None:
    plain, again = two_blocks(None, learns=learns), two_blocks(how, learns=learns)
    assert len(plain) == len(again) == 9 + learns
    assert all(gradient.abs().max() > 0 for gradient in plain)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again, plain, strict=True))


@pytest.mark.parametrize(
    ("mode", "own", "others"), [(None, 1, 1), ("full", 2, 2), ("selective", 1, 2)], ids=["plain", "full", "selective"]
)
def test_self_attention_is_computed_once_where_it_is_kept(mode: Mode | None, own: int, others: int) -> None:
    with Counted() as counted:
        two_blocks(Recompute(mode) if mode else None)
    assert counted.calls == {
        "self": 2 * own, "text": 2 * others, "gelu": 2 * others, "gelu_backward": 2,
        "_scaled_dot_product_flash_attention_for_cpu_backward": 4,
    }  # fmt: skip


class Made(TorchDispatchMode):
    """Everything that operations return, as long as somebody holds on to it."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: list[weakref.ref[Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple) else (out,):
            if isinstance(made, Tensor):
                self._storages.append(weakref.ref(made.untyped_storage()))
        return out

    def kept(self, *but: Tensor) -> list[int]:
        """The sizes in bytes of what is still there, but for some tensors."""
        known = {tensor.untyped_storage().data_ptr() for tensor in but}
        there = [storage for each in self._storages if (storage := each()) is not None]
        return sorted({one.data_ptr(): one.nbytes() for one in there if one.data_ptr() not in known}.values())


@pytest.mark.parametrize(("mode", "kept"), [("full", []), ("selective", [4 * B * N, 4 * B * N * D])])
def test_between_forward_and_backward_only_self_attention_s_results_are_kept(mode: Mode, kept: list[int]) -> None:
    """In `selective`: its output, and a number for each row of weights, from which backward makes them again."""
    block, (x_BND, text_BMD) = Block(), inputs()
    with Made() as made:
        y_BND = recomputed(block, (x_BND, text_BMD), block.trained(), Recompute(mode), nullcontext)
    assert made.kept(x_BND, text_BMD, y_BND, *block.parameters()) == kept
    y_BND.sum().backward()
    assert made.kept(x_BND, text_BMD, y_BND, *block.parameters()) == []
    with Made() as made:
        plain_BND = block(x_BND, text_BMD)
    assert sum(made.kept(x_BND, text_BMD, plain_BND, *block.parameters())) > 4 * sum(kept)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("mode", ["full", "selective"])
def test_every_so_many_blocks_are_computed_again(mode: Mode, every: int) -> None:
    how = Recompute(mode, every)
    assert [number for number in range(6) if how.of_block(number)] == list(range(0, 6, every))
    assert not any(Recompute("none", every).of_block(number) for number in range(6))
    with torch.no_grad():
        assert not any(how.of_block(number) for number in range(6))


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_an_input_that_is_sent_away_leaves_memory_and_comes_back(mode: Mode, tmp_path: Path) -> None:
    """To a file. Without it the block itself holds on to its input."""

    def to_file(x: Tensor) -> Back:
        path = tmp_path / f"{len(events)}.pt"
        torch.save(x, path)
        events.append(f"away {tuple(x.shape)}")

        def back() -> Tensor:
            events.append("back")
            return torch.load(path, weights_only=True)

        return back

    for away in (None, to_file):
        events: list[str] = []
        block, (leaf_BND, text_BMD) = Block(), inputs()
        x_BND = leaf_BND + 1  # which keeps nothing of its result
        left = weakref.ref(x_BND)
        y_BND = recomputed(block, (x_BND, text_BMD), block.trained(), Recompute(mode, away=away), nullcontext)
        del x_BND
        assert (left() is None) is (away is not None)
        assert events == [f"away {(B, N, D)}"] * (away is not None)
        y_BND.square().sum().backward()
        assert events == [f"away {(B, N, D)}", "back"] * (away is not None)
        expected, again = Block(), leaf_BND.detach().clone().requires_grad_()
        expected(again + 1, text_BMD).square().sum().backward()
        assert torch.equal(leaf_BND.grad, again.grad)


def test_a_copy_on_the_host_is_the_tensor_whatever_happens_to_it() -> None:
    x = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    back = to_host(x)
    x.zero_()
    assert torch.equal(back(), torch.arange(6, dtype=torch.bfloat16).view(2, 3))
    assert back().dtype == torch.bfloat16


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_what_went_to_the_host_is_let_go_of(mode: Mode) -> None:
    seen: list[weakref.ref[Tensor]] = []
    text_BMD = torch.randn(B, M, D)

    def compute(x: Tensor, text_BMD: Tensor) -> Tensor:
        return x * 2 + text_BMD.sum()

    def layer(x: Tensor) -> Tensor:
        seen.append(weakref.ref(x))
        return recomputed(compute, (x, text_BMD), (), Recompute(mode, away=to_host), nullcontext)

    leaf = torch.randn(B, N, D, requires_grad=True)
    out = layer(layer(leaf + 1))
    assert [ref() for ref in seen] == [None, None]
    out.sum().backward()
    assert leaf.grad.equal(torch.full_like(leaf, 4))


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_weights_are_visited_once_in_forward_and_once_in_backward(mode: Mode) -> None:
    """They are only there within a visit: a block whose weights are elsewhere computes with noise."""
    events: list[str] = []
    blocks, homes = [Block(), Block()], []
    for block in blocks:
        homes.append({name: p.detach().clone() for name, p in block.named_parameters() if not p.requires_grad})

    @contextmanager
    def visit(number: int) -> Iterator[None]:
        events.append(f"enter {number}")
        fill(number, homes[number])
        yield
        fill(number, {name: torch.full_like(p, torch.nan) for name, p in homes[number].items()})
        events.append(f"leave {number}")

    @torch.no_grad()
    def fill(number: int, tensors: dict[str, Tensor]) -> None:
        for name, parameter in blocks[number].named_parameters():
            if name in tensors:
                parameter.data = tensors[name].clone()

    x_BND, text_BMD = inputs()
    y_BND: Tensor = x_BND
    for number, block in enumerate(blocks):
        compute = noting(block, events, number)
        part = (y_BND, text_BMD)
        y_BND = recomputed(compute, part, block.trained(), Recompute(mode), lambda number=number: visit(number))
    forward = [f"{what} {number}" for number in (0, 1) for what in ("enter", "compute", "leave")]
    assert events == forward
    (y_BND * torch.linspace(-1, 1, y_BND.numel()).view_as(y_BND)).sum().backward()
    assert events == forward + [f"{what} {number}" for number in (1, 0) for what in ("enter", "compute", "leave")]
    found = [y_BND.detach(), x_BND.grad, *(p.grad for block in blocks for p in block.trained())]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, two_blocks(None), strict=True))


def noting(block: Block, events: list[str], number: int) -> Callable[..., Tensor]:
    def compute(*parts: Tensor) -> Tensor:
        events.append(f"compute {number}")
        return block(*parts)

    return compute


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_an_error_in_a_block_leaves_the_visit(mode: Mode) -> None:
    left = []

    @contextmanager
    def visit() -> Iterator[None]:
        try:
            yield
        finally:
            left.append(True)

    def fail(*parts: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        recomputed(fail, inputs(), [], Recompute(mode), visit)
    assert left == [True]
