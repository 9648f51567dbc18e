"""A block that is recomputed in backward: tensors kept, number of computations, and gradients equal to the bit.

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

from worldtune.models.attention import attend
from worldtune.models.memory.activation_checkpoint import (
    ActivationCheckpoint,
    Back,
    CheckpointMode,
    checkpointed,
    to_host,
)

B, N, M, D = 2, 16, 5, 12
HOWS = [
    ActivationCheckpoint("full"),
    ActivationCheckpoint("selective"),
    ActivationCheckpoint("full", offload_input=to_host),
    ActivationCheckpoint("selective", offload_input=to_host),
]


class Block(nn.Module):
    """Self-attention, attention to text and an MLP; only the weights of the MLP are trained."""

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
    """A counter of self-attention, attention to text, the MLP's activation, and their backward."""

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
    how: ActivationCheckpoint | None,
    resident: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    learns: bool = True,
) -> list[Tensor]:
    """Return the output of two blocks, and every gradient."""
    blocks, (x_BND, text_BMD) = [Block(), Block()], inputs(learns=learns)
    y_BND = x_BND
    for block in blocks:
        parts = (y_BND, text_BMD)
        y_BND = checkpointed(block, parts, block.trained(), how, resident) if how else block(*parts)
    (y_BND * torch.linspace(-1, 1, y_BND.numel()).view_as(y_BND)).sum().backward()
    assert (x_BND.grad is not None) is learns
    return [y_BND.detach(), *([x_BND.grad] if x_BND.grad is not None else [])] + [
        parameter.grad for block in blocks for parameter in block.trained() if parameter.grad is not None
    ]


@pytest.mark.parametrize("learns", [True, False], ids=["inputs learn", "only weights learn"])
@pytest.mark.parametrize("how", HOWS, ids=["full", "selective", "full, offloaded", "selective, offloaded"])
def test_gradients_are_equal_to_the_bit(how: ActivationCheckpoint, learns: bool) -> None:
    plain, again = two_blocks(None, learns=learns), two_blocks(how, learns=learns)
    assert len(plain) == len(again) == 9 + learns
    assert all(gradient.abs().max() > 0 for gradient in plain)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again, plain, strict=True))


@pytest.mark.parametrize(
    ("mode", "own", "others"), [(None, 1, 1), ("full", 2, 2), ("selective", 1, 2)], ids=["plain", "full", "selective"]
)
def test_kept_self_attention_is_computed_once(mode: CheckpointMode | None, own: int, others: int) -> None:
    with Counted() as counted:
        two_blocks(ActivationCheckpoint(mode) if mode else None)
    assert counted.calls == {
        "self": 2 * own, "text": 2 * others, "gelu": 2 * others, "gelu_backward": 2,
        "_scaled_dot_product_flash_attention_for_cpu_backward": 4,
    }  # fmt: skip


class ResultTracker(TorchDispatchMode):
    """A tracker of the results of operations that are still referenced."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: list[weakref.ref[Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for result in out if isinstance(out, tuple) else (out,):
            if isinstance(result, Tensor):
                self._storages.append(weakref.ref(result.untyped_storage()))
        return out

    def kept(self, *ignored: Tensor) -> list[int]:
        """Return the sizes in bytes of the results still in memory, without the ignored tensors."""
        known = {tensor.untyped_storage().data_ptr() for tensor in ignored}
        alive = [storage for ref in self._storages if (storage := ref()) is not None]
        return sorted(
            {storage.data_ptr(): storage.nbytes() for storage in alive if storage.data_ptr() not in known}.values()
        )


@pytest.mark.parametrize(("mode", "kept"), [("full", []), ("selective", [4 * B * N, 4 * B * N * D])])
def test_only_self_attention_s_results_are_kept_for_backward(mode: CheckpointMode, kept: list[int]) -> None:
    """`selective` keeps its output, and one number per row of attention weights for backward."""
    block, (x_BND, text_BMD) = Block(), inputs()
    with ResultTracker() as results:
        y_BND = checkpointed(block, (x_BND, text_BMD), block.trained(), ActivationCheckpoint(mode), nullcontext)
    assert results.kept(x_BND, text_BMD, y_BND, *block.parameters()) == kept
    y_BND.sum().backward()
    assert results.kept(x_BND, text_BMD, y_BND, *block.parameters()) == []
    with ResultTracker() as results:
        plain_BND = block(x_BND, text_BMD)
    assert sum(results.kept(x_BND, text_BMD, plain_BND, *block.parameters())) > 4 * sum(kept)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("mode", ["full", "selective"])
def test_every_nth_block_is_recomputed(mode: CheckpointMode, every: int) -> None:
    how = ActivationCheckpoint(mode, every)
    assert [number for number in range(6) if how.applies_to(number)] == list(range(0, 6, every))
    assert not any(ActivationCheckpoint("none", every).applies_to(number) for number in range(6))
    with torch.no_grad():
        assert not any(how.applies_to(number) for number in range(6))


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_an_offloaded_input_leaves_memory_and_returns(mode: CheckpointMode, tmp_path: Path) -> None:
    """Here it is offloaded to a file. Otherwise the block keeps its input."""

    def to_file(x: Tensor) -> Back:
        path = tmp_path / f"{len(events)}.pt"
        torch.save(x, path)
        events.append(f"out {tuple(x.shape)}")

        def back() -> Tensor:
            events.append("back")
            return torch.load(path, weights_only=True)

        return back

    for offload in (None, to_file):
        events: list[str] = []
        block, (leaf_BND, text_BMD) = Block(), inputs()
        x_BND = leaf_BND + 1  # its backward does not need its result
        left = weakref.ref(x_BND)
        y_BND = checkpointed(
            block, (x_BND, text_BMD), block.trained(), ActivationCheckpoint(mode, offload_input=offload), nullcontext
        )
        del x_BND
        assert (left() is None) is (offload is not None)
        assert events == [f"out {(B, N, D)}"] * (offload is not None)
        y_BND.square().sum().backward()
        assert events == [f"out {(B, N, D)}", "back"] * (offload is not None)
        expected, again = Block(), leaf_BND.detach().clone().requires_grad_()
        expected(again + 1, text_BMD).square().sum().backward()
        assert torch.equal(leaf_BND.grad, again.grad)


def test_a_host_copy_is_independent_of_the_tensor() -> None:
    x = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    back = to_host(x)
    x.zero_()
    assert torch.equal(back(), torch.arange(6, dtype=torch.bfloat16).view(2, 3))
    assert back().dtype == torch.bfloat16


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_an_input_copied_to_the_host_is_released(mode: CheckpointMode) -> None:
    seen: list[weakref.ref[Tensor]] = []
    text_BMD = torch.randn(B, M, D)

    def compute(x: Tensor, text_BMD: Tensor) -> Tensor:
        return x * 2 + text_BMD.sum()

    def layer(x: Tensor) -> Tensor:
        seen.append(weakref.ref(x))
        return checkpointed(compute, (x, text_BMD), (), ActivationCheckpoint(mode, offload_input=to_host), nullcontext)

    leaf = torch.randn(B, N, D, requires_grad=True)
    out = layer(layer(leaf + 1))
    assert [ref() for ref in seen] == [None, None]
    out.sum().backward()
    assert leaf.grad.equal(torch.full_like(leaf, 4))


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_weights_are_resident_once_in_forward_and_once_in_backward(mode: CheckpointMode) -> None:
    """Outside `resident` the weights are NaN, so a block that computes there gives NaN."""
    events: list[str] = []
    blocks, originals = [Block(), Block()], []
    for block in blocks:
        originals.append({name: p.detach().clone() for name, p in block.named_parameters() if not p.requires_grad})

    @contextmanager
    def resident(number: int) -> Iterator[None]:
        events.append(f"enter {number}")
        fill(number, originals[number])
        yield
        fill(number, {name: torch.full_like(p, torch.nan) for name, p in originals[number].items()})
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
        y_BND = checkpointed(
            compute, part, block.trained(), ActivationCheckpoint(mode), lambda number=number: resident(number)
        )
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
def test_an_error_in_a_block_exits_the_resident_context(mode: CheckpointMode) -> None:
    left = []

    @contextmanager
    def resident() -> Iterator[None]:
        try:
            yield
        finally:
            left.append(True)

    def fail(*parts: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        checkpointed(fail, inputs(), [], ActivationCheckpoint(mode), resident)
    assert left == [True]
