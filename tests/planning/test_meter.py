"""What the meter counts, with data and without, against what torch's allocator was asked for."""

import torch
from torch import nn

from worldtune.bench.allocation import allocated_peak
from worldtune.planning.meter import MemoryMeter, default_dtype, without_data


def test_live_and_peak_of_tensors_that_come_and_go() -> None:
    with MemoryMeter() as meter:
        kept = torch.zeros(256)
        assert meter.live == meter.peak == 1024
        gone = torch.ones(1024)
        del gone
        assert (meter.live, meter.peak) == (1024, 1024 + 4096)
        view = kept[:10]
        assert meter.live == 1024
        del kept
        assert meter.live == 1024, "a view keeps its storage"
        del view
        assert meter.live == 0


def test_tensors_of_before_are_not_counted() -> None:
    before = torch.zeros(256, 4)
    with MemoryMeter() as meter:
        view = before.t()
        made = view + 1
    assert meter.live == made.untyped_storage().nbytes()


def test_a_mark_begins_a_new_peak() -> None:
    with MemoryMeter() as meter:
        torch.zeros(1024)
        kept = torch.zeros(2)
        assert meter.mark() == meter.peak == meter.live == kept.untyped_storage().nbytes()


def test_without_data_a_forward_and_backward_pass_count_as_the_allocator_does() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    def step(model: nn.Module, x: torch.Tensor) -> None:
        model(x).square().mean().backward()

    with without_data() as meter:
        model, x = build(), torch.empty(32, 64)
        before = meter.mark()
        step(model, x)
        predicted = meter.peak - before
    model, x = build(), torch.randn(32, 64)
    assert abs(predicted - allocated_peak(lambda: step(model, x))) <= 0.05 * predicted


def test_modules_are_made_in_a_type_and_the_default_returns() -> None:
    with default_dtype(torch.bfloat16):
        assert nn.Linear(1, 1).weight.dtype == torch.bfloat16
    assert torch.get_default_dtype() == torch.float32
