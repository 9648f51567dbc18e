"""A training step against that of diffusers' Cosmos LoRA example: time, memory and exactness.

Shapes: B clips, C latent channels, T latent frames, H×W pixels, N text tokens, D text width.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.evaluation.quality import measure_quality
from benchmarks.exactness import denoiser_difference, initial_change, initial_stock_change, layer_difference
from benchmarks.planner_accuracy import POCKET, Size, plan_step, prediction_error, selective_flops_ratio
from benchmarks.pocket import held_out_spec
from benchmarks.ratio import ROUNDS, Ratio, Work, time_in_turn
from benchmarks.training.allocation import retained_bytes
from benchmarks.training.overhead import measure_overhead
from benchmarks.training.stock_training import (
    add_stock_adapter,
    encode_each_step,
    stock_loss,
    stock_step,
    training_pipeline,
)
from benchmarks.training.training_steps import BASE_2B, as_world, draw, our_step, random_clips, two_blocks
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.progress import Progress
from worldtune.data.clip import read_clip
from worldtune.data.dataset import open_dataset
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.latents.store import LatentStore
from worldtune.models.catalog import KnownBase
from worldtune.models.load import open_world
from worldtune.training.flow_matching_loss import loss_per_clip
from worldtune.training.recipe import load_recipe

PARTS = 23
RANK = 32
METHODS = {"lora": "LoRA", "dora": "DoRA"}
GIB = 2**30
Goal = Callable[[float], float | None]


@dataclass(frozen=True)
class Extent:
    """The extent of the bench: rounds of a ratio; clips of the batches; heads and latent size of two blocks; base and
    clip sizes to plan; clips of a held-out loss; overrides of a run's recipe.
    """

    rounds: int
    batches: tuple[int, int]
    heads: int
    side: tuple[int, int]
    base: KnownBase
    sizes: tuple[Size, Size]
    held_out: int
    overrides: tuple[str, ...] = ()


FULL = Extent(ROUNDS, (8, 1), 16, (36, 40), BASE_2B, ((93, 432, 768), (93, 704, 1280)), 24)
QUICK = Extent(
    2, (2, 1), 2, (8, 8), POCKET, ((9, 64, 96), (9, 96, 96)), 2,
    ("train={steps: 4, batch: 2, checkpoint_every: 2}", "replay=null", "validate={every: 4, clips: 2}"),
)  # fmt: skip


def measure(*, quick: bool, on_part: Progress) -> list[Figure]:
    """Measure every figure of training; `quick` takes two rounds of small sizes without goals for speed and memory."""
    rows: list[Figure] = []
    for number, row in enumerate(_rows(QUICK if quick else FULL, lambda value: None if quick else value), 1):
        rows.append(row)
        on_part(number, PARTS)
    return rows


def _rows(extent: Extent, goal: Goal) -> Iterator[Figure]:
    yield from _speed(extent, goal)
    yield from _exactness()
    yield from _memory(extent, goal)
    yield from _planned(extent, goal)
    yield from _run(extent, goal)


def _speed(extent: Extent, goal: Goal) -> Iterator[Figure]:
    for batch, minimum in zip(extent.batches, (3.0, 2.2), strict=True):
        ratio = whole_step_ratio(batch, extent.rounds)
        yield _speedup_figure(
            f"whole step, pocket, bf16, batch {batch}, against diffusers' example", ratio, goal(minimum)
        )
    tokens = 6 * extent.side[0] * extent.side[1] // 4
    blocks = f"two blocks of width {128 * extent.heads}, bf16, {tokens} tokens"
    for method, minimum in (("lora", 1.15), ("dora", 1.35)):
        ratio = wide_step_ratio(AdapterSpec(method=method, rank=RANK), extent)
        yield _speedup_figure(f"{METHODS[method]} step, {blocks}, against diffusers and peft", ratio, goal(minimum))
    ratio = dora_over_lora(extent)
    yield figure(f"DoRA step, of a LoRA step, {blocks}", ratio.speedup, "×", "lower", goal(1.08))


def _speedup_figure(name: str, ratio: Ratio, goal: float | None) -> Figure:
    return figure(f"{name} ({ratio.plain * 1e3:.0f} → {ratio.fast * 1e3:.0f} ms)", ratio.speedup, "×", "higher", goal)


def _exactness() -> Iterator[Figure]:
    against = "DoRA against peft's, float64, outputs and gradients, relative"
    yield figure(f"{against}: one linear", layer_difference(), "", "lower", 1e-10)
    yield figure(f"{against}: pocket denoiser", denoiser_difference(), "", "lower", 1e-10)
    yield figure("new DoRA, bf16: largest change of the velocity", initial_change(), "", "lower", 0.0)
    yield figure("new DoRA as diffusers' example makes it: relative change", initial_stock_change(), "", "lower")


def _memory(extent: Extent, goal: Goal) -> Iterator[Figure]:
    for method, limit in (("lora", 0.6), ("dora", 0.4)):
        ours, theirs = saved_bytes(AdapterSpec(method=method, rank=RANK), extent)
        name = f"{METHODS[method]}, kept for backward, of diffusers' and peft's"
        sizes = f"({theirs / GIB:.2f} → {ours / GIB:.2f} GiB)"
        yield figure(f"{name} {sizes}", ours / theirs, "×", "lower", goal(limit))


def _planned(extent: Extent, goal: Goal) -> Iterator[Figure]:
    base, (small, large) = extent.base, extent.sizes
    for size, limit in ((small, 10), (large, 20)):
        peak = plan_step(base, size, "full").peak / GIB
        yield figure(f"{_step(base, size)}: predicted peak", peak, "GiB", "lower", goal(limit))
    peak = plan_step(base, large, "full", offloaded=True).peak / GIB
    yield figure(f"{_step(base, large)}, checkpoints offloaded: predicted peak", peak, "GiB", "lower", goal(12))
    error = max(prediction_error("lora", "none"), prediction_error("dora", "full"))
    yield figure("predicted bytes of a step, relative error, pocket", error, "", "lower", 0.05)
    share = selective_flops_ratio(base, small)
    name = f"{_step(base, small)}: operations, selective of full checkpointing"
    yield figure(name, share, "×", "lower", goal(0.84))


def _step(base: KnownBase, size: Size) -> str:
    frames, height, width = size
    return f"LoRA step of {base.name}, {height}×{width}×{frames}"


def _run(extent: Extent, goal: Goal) -> Iterator[Figure]:
    recipe = load_recipe(Path(str(files("worldtune"))) / "recipes" / "pocket-new-task.yaml", list(extent.overrides))
    with tempfile.TemporaryDirectory() as folder:
        store = LatentStore(Path(folder) / "latents")
        lost = measure_overhead(recipe, Path(folder) / "run", store)
        yield from measure_quality("pocket", store, extent.held_out)
    yield figure(f"{recipe.name}: share of time for checkpoints and log", lost.writing, "", "lower", goal(0.02))
    yield figure(f"{recipe.name}: share of time waiting for clips", lost.waiting, "", "lower", goal(0.002))


def whole_step_ratio(count: int, rounds: int) -> Ratio:
    """Time whole steps: theirs from frames and prompts, ours from encoded clips; both draw noise, train and step."""
    world, spec = open_world("pocket", dtype=torch.bfloat16), AdapterSpec(rank=RANK)
    clips = open_dataset(held_out_spec(world)).train[:count]
    frames_BTHWC, prompts = torch.stack([torch.from_numpy(read_clip(c)) for c in clips]), [c.caption for c in clips]
    encoded, no_text_1ND = (world.encode(frames_BTHWC), world.encode_prompts(prompts)), world.no_text()
    pipe, x_BCTHW = training_pipeline(world.folder), frames_BTHWC.permute(0, 4, 1, 2, 3) / 127.5 - 1
    theirs = stock_step(pipe.transformer, spec, encode_each_step(pipe, x_BCTHW, prompts, world.text.length))
    return time_in_turn(theirs, our_step(world, spec, encoded, no_text_1ND), rounds)


def wide_step_ratio(spec: AdapterSpec, extent: Extent) -> Ratio:
    """Time the denoiser's step alone, with the same latents and projected text on both sides."""
    z_BCTHW, text_BND = random_clips(extent.side)
    theirs = stock_step(two_blocks(extent.heads), spec, lambda: (z_BCTHW, text_BND.bfloat16()))
    return time_in_turn(theirs, _wide_step(spec, (z_BCTHW, text_BND), extent), extent.rounds)


def dora_over_lora(extent: Extent) -> Ratio:
    clips = random_clips(extent.side)
    dora, lora = (_wide_step(AdapterSpec(method=method, rank=RANK), clips, extent) for method in ("dora", "lora"))
    return time_in_turn(dora, lora, extent.rounds)


def _wide_step(spec: AdapterSpec, clips: tuple[Tensor, Tensor], extent: Extent) -> Work:
    return our_step(as_world(two_blocks(extent.heads)), spec, clips, torch.zeros_like(clips[1]))


def saved_bytes(spec: AdapterSpec, extent: Extent) -> tuple[int, int]:
    """Return the bytes that our step and theirs keep for backward, for the same clip without recomputation."""
    z_BCTHW, text_BND = random_clips(extent.side)
    draws = draw(1, tuple(z_BCTHW.shape[1:]))
    ours, theirs = two_blocks(extent.heads), two_blocks(extent.heads)
    inject(ours, spec, seed=0)
    add_stock_adapter(theirs, spec)
    world = as_world(ours)
    return (
        retained_bytes(lambda: loss_per_clip(world, z_BCTHW, text_BND, draws).mean()),
        retained_bytes(lambda: stock_loss(theirs, z_BCTHW, text_BND.bfloat16(), draws)),
    )
