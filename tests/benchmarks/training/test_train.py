"""The train bench in its small form, and that both sides of its ratios train the same. No speed is asserted."""

import json
import math

import pytest
import torch
from torch import nn

from benchmarks.training.allocation import allocated_peak, retained_bytes
from benchmarks.training.overhead import time_calls
from benchmarks.training.stock_training import (
    add_stock_adapter,
    encode_each_step,
    stock_loss,
    stock_step,
    training_pipeline,
)
from benchmarks.training.train import PARTS
from benchmarks.training.training_steps import as_world, draw, our_step, two_blocks
from worldtune.adapters.inject import adapter_parameters, inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.cli.main import run
from worldtune.models.load import open_world
from worldtune.training.flow_matching_loss import loss_per_clip

COMPUTED = {
    "LoRA, kept for backward, of diffusers' and peft's (0.01 → 0.00 GiB)": 0.41689,
    "DoRA, kept for backward, of diffusers' and peft's (0.02 → 0.01 GiB)": 0.32734,
    "LoRA step of pocket, 64×96×9: predicted peak": 0.021853,
    "LoRA step of pocket, 96×96×9: predicted peak": 0.022359,
    "LoRA step of pocket, 96×96×9, checkpoints offloaded: predicted peak": 0.022359,
    "LoRA step of pocket, 64×96×9: operations, selective of full checkpointing": 0.99938,
}
"""The figures that are counted, not timed: bytes and operations."""
CLIPS = torch.randn(2, 16, 3, 4, 6), torch.randn(2, 7, 1024)


def test_quick_bench_has_every_figure(capsys) -> None:  # type: ignore[no-untyped-def]
    assert run(["bench", "train", "--quick", "--json"]) == 0
    figures = {row["name"]: row for row in json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]}
    assert len(figures) == PARTS
    assert {name: figures[name]["value"] for name in COMPUTED} == pytest.approx(COMPUTED, rel=1e-3)
    assert [name for name, row in figures.items() if not math.isfinite(row["value"])] == []
    goals = {name: row for name, row in figures.items() if row["goal"] is not None}
    assert len(goals) == 4  # what holds at any size: exactness and the prediction
    assert all(row["reached"] for row in goals.values())
    (stock,) = (row["value"] for name, row in figures.items() if name.startswith("new DoRA as diffusers'"))
    assert stock > 1e-3


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_both_sides_have_the_same_loss_and_gradients(method: str) -> None:
    spec, (z_BCTHW, text_BND) = AdapterSpec(method=method, rank=4), CLIPS
    ours, theirs = (two_blocks(2, torch.float32) for _ in range(2))
    inject(ours, spec, seed=0)
    add_stock_adapter(theirs, spec)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapter_parameters(theirs).items():
            if "magnitude" not in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            adapter_parameters(ours)[name].copy_(parameter)
    draws = draw(2, tuple(z_BCTHW.shape[1:]))
    mine = loss_per_clip(as_world(ours), z_BCTHW, text_BND, draws).mean()
    its = stock_loss(theirs, z_BCTHW, text_BND, draws)
    assert mine.item() == pytest.approx(its.item(), rel=1e-5)
    mine.backward()
    its.backward()
    for name, parameter in adapter_parameters(theirs).items():
        its_grad, grad = parameter.grad, adapter_parameters(ours)[name].grad
        assert its_grad is not None
        assert grad is not None
        assert its_grad.abs().max() > 0
        assert (grad - its_grad).abs().max() < 1e-4 * its_grad.abs().max()


def test_both_sides_train_only_their_adapter() -> None:
    z_BCTHW, text_BND = CLIPS
    spec = AdapterSpec(rank=4)
    ours, theirs = two_blocks(2), two_blocks(2)
    steps = (
        our_step(as_world(ours), spec, (z_BCTHW, text_BND), torch.zeros_like(text_BND)),
        stock_step(theirs, spec, lambda: (z_BCTHW, text_BND.bfloat16())),
    )
    for denoiser, step in zip((ours, theirs), steps, strict=True):
        before = {name: parameter.clone() for name, parameter in denoiser.named_parameters()}
        step()
        changed = {name for name, parameter in denoiser.named_parameters() if not parameter.equal(before[name])}
        assert changed
        assert changed <= adapter_parameters(denoiser).keys()
        assert {parameter.dtype for parameter in adapter_parameters(denoiser).values()} == {torch.float32}


def test_diffusers_example_encodes_as_worldtune_does() -> None:
    world = open_world("pocket", dtype=torch.bfloat16)
    frames_BTHWC = torch.randint(0, 256, (2, 5, 64, 64, 3), dtype=torch.uint8)
    prompts = ["The robot arm opens the drawer.", "The robot arm waits."]
    x_BCTHW = frames_BTHWC.permute(0, 4, 1, 2, 3) / 127.5 - 1
    z_BCTHW, embeddings_BNE = encode_each_step(training_pipeline(world.folder), x_BCTHW, prompts, world.text.length)()
    assert (z_BCTHW - world.encode(frames_BTHWC)).abs().max() < 0.05  # bf16
    assert (embeddings_BNE - world.text.embed(prompts)).abs().max() < 0.05


def test_retained_bytes_exclude_the_model_and_freed_tensors() -> None:
    linear, x = nn.Linear(64, 64, bias=False), torch.randn(512, 64)

    def forward() -> torch.Tensor:
        y = linear(x * 2)  # the weight is trained: keeps its input
        return (y * y.view(-1).view(512, 64)).exp().sum()  # keeps y, twice, and its own exponential

    assert retained_bytes(forward) == 3 * x.nbytes + 4  # the sum
    assert retained_bytes(lambda: (x * 2).exp().sum()) == 4
    assert allocated_peak(lambda: (x * 2).exp().sum()) == 2 * x.nbytes


def test_calls_are_timed_only_inside_the_block() -> None:
    class Owner:
        def work(self, number: int) -> int:
            return 2 * number

    with time_calls(Owner, "work") as seconds:
        assert [Owner().work(1), Owner().work(number=2)] == [2, 4]
    assert len(seconds) == 2
    assert Owner().work(3) == 6
    assert len(seconds) == 2
