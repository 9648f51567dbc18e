"""A training step against that of diffusers' Cosmos LoRA example: its time, its memory, and that it is the same.

Shapes: B clips, C latent channels, T latent frames, H×W pixels, N text tokens, D text width.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.allocation import held_bytes
from worldtune.bench.exactness import denoiser_difference, layer_difference, newborn_change, stock_newborn_change
from worldtune.bench.overhead import measure_overhead
from worldtune.bench.planned import POCKET, Size, plan, prediction_error, selective_operations
from worldtune.bench.pocket import held_out_spec
from worldtune.bench.quality import measure_quality
from worldtune.bench.ratio import ROUNDS, Ratio, Work, time_in_turn
from worldtune.bench.stock_training import add_stock_adapter, encode_anew, stock_loss, stock_step, training_pipeline
from worldtune.bench.training_steps import BASE_2B, as_world, draw, our_step, random_clips, two_blocks
from worldtune.episodes.clip import read_clip
from worldtune.episodes.dataset import open_dataset
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.latents.store import LatentStore
from worldtune.training.objective import loss_per_clip
from worldtune.training.recipe import load_recipe
from worldtune.worlds.catalog import KnownBase
from worldtune.worlds.load import open_world

PARTS = 23
RANK = 32
METHODS = {"lora": "LoRA", "dora": "DoRA"}
GIB = 2**30
Goal = Callable[[float], float | None]


@dataclass(frozen=True)
class Extent:
    """Rounds of a ratio; clips of a batch; heads and latent pixels of two blocks; what is planned; clips of a held-out
    loss; a run's changes."""

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


def measure(*, quick: bool, on_part: Callable[[int, int], None]) -> list[Figure]:
    """Every figure of training; `quick` takes two rounds of small sizes, whose speed and memory have no goal."""
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
    for batch, least in zip(extent.batches, (3.0, 2.2), strict=True):
        ratio = whole_step_ratio(batch, extent.rounds)
        yield _faster(f"whole step, pocket, bf16, batch {batch}, against diffusers' example", ratio, goal(least))
    tokens = 6 * extent.side[0] * extent.side[1] // 4
    blocks = f"two blocks of width {128 * extent.heads}, bf16, {tokens} tokens"
    for method, least in (("lora", 1.15), ("dora", 1.35)):
        ratio = wide_step_ratio(AdapterSpec(method=method, rank=RANK), extent)
        yield _faster(f"{METHODS[method]} step, {blocks}, against diffusers and peft", ratio, goal(least))
    ratio = dora_over_lora(extent)
    yield figure(f"DoRA step, of a LoRA step, {blocks}", ratio.speedup, "×", "lower", goal(1.08))


def _faster(name: str, ratio: Ratio, goal: float | None) -> Figure:
    return figure(f"{name} ({ratio.plain * 1e3:.0f} → {ratio.fast * 1e3:.0f} ms)", ratio.speedup, "×", "higher", goal)


def _exactness() -> Iterator[Figure]:
    against = "DoRA against peft's, float64, outputs and gradients, relative"
    yield figure(f"{against}: one linear", layer_difference(), "", "lower", 1e-10)
    yield figure(f"{against}: pocket denoiser", denoiser_difference(), "", "lower", 1e-10)
    yield figure("new DoRA, bf16: largest change of the velocity", newborn_change(), "", "lower", 0.0)
    yield figure("new DoRA as diffusers' example makes it: relative change", stock_newborn_change(), "", "lower")


def _memory(extent: Extent, goal: Goal) -> Iterator[Figure]:
    for method, most in (("lora", 0.6), ("dora", 0.4)):
        ours, theirs = saved_of_both(AdapterSpec(method=method, rank=RANK), extent)
        name = f"{METHODS[method]}, kept for backward, of diffusers' and peft's"
        sizes = f"({theirs / GIB:.2f} → {ours / GIB:.2f} GiB)"
        yield figure(f"{name} {sizes}", ours / theirs, "×", "lower", goal(most))


def _planned(extent: Extent, goal: Goal) -> Iterator[Figure]:
    base, (small, large) = extent.base, extent.sizes
    for size, most in ((small, 10), (large, 20)):
        peak = plan(base, size, "full").peak / GIB
        yield figure(f"{_step(base, size)}: predicted peak", peak, "GiB", "lower", goal(most))
    peak = plan(base, large, "full", offloaded=True).peak / GIB
    yield figure(f"{_step(base, large)}, checkpoints offloaded: predicted peak", peak, "GiB", "lower", goal(12))
    error = max(prediction_error("lora", "none"), prediction_error("dora", "full"))
    yield figure("predicted bytes of a step, relative error, pocket", error, "", "lower", 0.05)
    share = selective_operations(base, small)
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
    """Theirs from pictures and prompts, ours from what the store has of them; both draw, train and step."""
    world, spec = open_world("pocket", dtype=torch.bfloat16), AdapterSpec(rank=RANK)
    clips = open_dataset(held_out_spec(world)).train[:count]
    frames_BTHWC, prompts = torch.stack([torch.from_numpy(read_clip(c)) for c in clips]), [c.caption for c in clips]
    encoded, no_text_1ND = (world.encode(frames_BTHWC), world.encode_prompts(prompts)), world.no_text()
    pipe, x_BCTHW = training_pipeline(world.folder), frames_BTHWC.permute(0, 4, 1, 2, 3) / 127.5 - 1
    theirs = stock_step(pipe.transformer, spec, encode_anew(pipe, x_BCTHW, prompts, world.text.length))
    return time_in_turn(theirs, our_step(world, spec, encoded, no_text_1ND), rounds)


def wide_step_ratio(spec: AdapterSpec, extent: Extent) -> Ratio:
    """The denoiser's step alone: both are given the same latents and projected text."""
    z_BCTHW, text_BND = random_clips(extent.side)
    theirs = stock_step(two_blocks(extent.heads), spec, lambda: (z_BCTHW, text_BND.bfloat16()))
    return time_in_turn(theirs, _wide_step(spec, (z_BCTHW, text_BND), extent), extent.rounds)


def dora_over_lora(extent: Extent) -> Ratio:
    clips = random_clips(extent.side)
    dora, lora = (_wide_step(AdapterSpec(method=method, rank=RANK), clips, extent) for method in ("dora", "lora"))
    return time_in_turn(dora, lora, extent.rounds)


def _wide_step(spec: AdapterSpec, clips: tuple[Tensor, Tensor], extent: Extent) -> Work:
    return our_step(as_world(two_blocks(extent.heads)), spec, clips, torch.zeros_like(clips[1]))


def saved_of_both(spec: AdapterSpec, extent: Extent) -> tuple[int, int]:
    """Bytes that our step and theirs keep for backward, of the same clip, nothing being computed again."""
    z_BCTHW, text_BND = random_clips(extent.side)
    draws = draw(1, tuple(z_BCTHW.shape[1:]))
    ours, theirs = two_blocks(extent.heads), two_blocks(extent.heads)
    inject(ours, spec, seed=0)
    add_stock_adapter(theirs, spec)
    world = as_world(ours)
    return (
        held_bytes(lambda: loss_per_clip(world, z_BCTHW, text_BND, draws).mean()),
        held_bytes(lambda: stock_loss(theirs, z_BCTHW, text_BND.bfloat16(), draws)),
    )
