"""The tracker's counts, with and without data, against the requests to torch's allocator."""

import torch
from torch import nn

from benchmarks.training.allocation import allocated_peak
from worldtune.planning.memory_tracker import MemoryTracker, default_dtype, without_data


def test_live_and_peak_of_tensors_that_come_and_go() -> None:
    with MemoryTracker() as tracker:
        kept = torch.zeros(256)
        assert tracker.live == tracker.peak == 1024
        gone = torch.ones(1024)
        del gone
        assert (tracker.live, tracker.peak) == (1024, 1024 + 4096)
        view = kept[:10]
        assert tracker.live == 1024
        del kept
        assert tracker.live == 1024, "a view keeps its storage"
        del view
        assert tracker.live == 0


def test_tensors_made_before_the_block_are_not_counted() -> None:
    before = torch.zeros(256, 4)
    with MemoryTracker() as tracker:
        view = before.t()
        made = view + 1
    assert tracker.live == made.untyped_storage().nbytes()


def test_mark_starts_a_new_peak() -> None:
    with MemoryTracker() as tracker:
        torch.zeros(1024)
        kept = torch.zeros(2)
        assert tracker.mark() == tracker.peak == tracker.live == kept.untyped_storage().nbytes()


def test_forward_and_backward_without_data_match_the_allocator() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    def step(model: nn.Module, x: torch.Tensor) -> None:
        model(x).square().mean().backward()

    with without_data() as tracker:
        model, x = build(), torch.empty(32, 64)
        before = tracker.mark()
        step(model, x)
        predicted = tracker.peak - before
    model, x = build(), torch.randn(32, 64)
    assert abs(predicted - allocated_peak(lambda: step(model, x))) <= 0.05 * predicted


def test_default_dtype_is_set_and_restored() -> None:
    with default_dtype(torch.bfloat16):
        assert nn.Linear(1, 1).weight.dtype == torch.bfloat16
    assert torch.get_default_dtype() == torch.float32
