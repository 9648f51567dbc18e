"""Chunks against the whole: values, gradients of inputs and parameters, and skipped recomputations."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from worldtune.models.memory import chunked
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint, checkpointed
from worldtune.models.memory.chunked import as_on_gpu, in_chunks, skipping_last


class Part(nn.Module):
    """A module like a block's MLP that counts its computations."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(6, 24).double(), nn.Linear(24, 6).double()
        self.up.weight.requires_grad_(False)
        self.calls = 0

    def compute(self, x: Tensor, gate: Tensor) -> Tensor:
        self.calls += 1
        return x + gate * self.down(torch.nn.functional.gelu(self.up(x)))

    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def run(part: Part, *, gate_learns: bool, last: bool = False, again: bool = False) -> list[Tensor]:
    """Return the output and every gradient of a computation with operations before and after the part."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 7, 3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    gate = torch.randn(2, 7, 1, 1, generator=generator, dtype=torch.float64, requires_grad=gate_learns)

    def whole(x: Tensor, gate: Tensor) -> Tensor:
        return in_chunks(part.compute, (x.sin(), gate), 1, part.trained(), last=last)

    part.zero_grad()
    how = ActivationCheckpoint("full")
    y = checkpointed(whole, (x, gate), part.trained(), how, nullcontext) if again else whole(x, gate)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *([gate.grad] if gate_learns else []), *(p.grad for p in part.trained())]


def cut(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Cut everything larger than `size` elements into slices of that size."""
    monkeypatch.setattr(chunked, "WHOLE", size)
    monkeypatch.setattr(chunked, "CHUNK", size)
    monkeypatch.setattr(chunked, "ON_GPU", size)
    monkeypatch.setattr(chunked, "LAST_ON_GPU", size)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("gate_learns", [False, True])
@pytest.mark.parametrize(("size", "slices"), [(36, 7), (100, 4), (10_000, 1)])
def test_chunks_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch, size: int, slices: int, gate_learns: bool, last: bool, again: bool
) -> None:
    expected = run(Part(), gate_learns=gate_learns)
    cut(monkeypatch, size)
    part = Part()
    found = run(part, gate_learns=gate_learns, last=last, again=again)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    if slices > 1:
        assert part.calls == slices * (3 if again and not last else 2)


def test_without_gradients_a_slice_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    part, x, gate = Part(), torch.randn(2, 7, 3, 6).double(), torch.ones(2, 7, 1, 1).double()
    with torch.no_grad():
        expected = part.compute(x, gate)
        cut(monkeypatch, 36)
        part.calls = 0
        torch.testing.assert_close(in_chunks(part.compute, (x, gate), 1), expected, rtol=1e-12, atol=1e-12)
    assert part.calls == 7


def test_backward_can_run_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, 36)
    part, x = Part(), torch.randn(2, 7, 3, 6).double().requires_grad_()
    gate = torch.ones(2, 7, 1, 1).double()

    def whole(x: Tensor) -> Tensor:
        return in_chunks(part.compute, (x.sin(), gate), 1, part.trained(), last=True)

    y = checkpointed(whole, (x,), part.trained(), ActivationCheckpoint("full"), nullcontext).sum()
    y.backward(retain_graph=True)
    once = x.grad.clone()
    y.backward()
    torch.testing.assert_close(x.grad, 2 * once)


def test_an_error_in_a_recomputation_resets_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, 36)

    def fail() -> None:
        with skipping_last():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    part = Part()
    assert run(part, gate_learns=False, last=True)[0].abs().sum() > 0
    assert part.calls == 14


@pytest.mark.parametrize(("last", "on_gpu", "slices"), [
    (False, False, 16), (True, False, 16), (False, True, 4), (True, True, 16),
])  # fmt: skip
def test_a_gpu_has_fewer_slices_except_for_the_last_part(last: bool, on_gpu: bool, slices: int) -> None:
    heads = torch.zeros(1, 16, 2**15, 128)  # a slice of one head is 2**22 elements, and two exceed LAST_ON_GPU
    seen: list[int] = []

    def compute(some: Tensor) -> Tensor:
        seen.append(some.numel())
        return some

    with torch.no_grad(), as_on_gpu() if on_gpu else nullcontext():
        assert in_chunks(compute, (heads,), 1, last=last).equal(heads)
    assert len(seen) == slices
