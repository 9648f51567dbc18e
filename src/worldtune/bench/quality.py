"""What a base in fewer bits costs: its held-out loss on its own domain, over that of fp32."""

from collections.abc import Iterator
from statistics import fmean
from typing import get_args

import torch

from worldtune.bench.pocket import held_out_spec
from worldtune.episodes.dataset import open_dataset
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.training.data import spread
from worldtune.training.held_out import held_out_losses
from worldtune.worlds.denoiser import make_precise
from worldtune.worlds.load import open_world
from worldtune.worlds.quantised import Kind
from worldtune.worlds.world import World

SIGMAS, SHIFT, BATCH = 4, 5.0, 6


def measure_quality(base: str, store: LatentStore, count: int) -> Iterator[Figure]:
    """A row for bf16, for bf16 with the parts in fp32 that the reference has so, and for each way of quantising it,
    on `count` clips."""
    exact = open_world(base)
    chosen = spread(open_dataset(held_out_spec(exact)).clips, count)
    clips = encode_clips(exact, chosen, store)
    plain = _loss(exact, clips)
    rounded = open_world(base, dtype=torch.bfloat16)
    yield _cost("bf16", _loss(rounded, clips), plain)
    make_precise(rounded.denoiser)
    yield _cost("bf16, train.precise", _loss(rounded, clips), plain)
    for kind in get_args(Kind):
        coded = open_world(base, dtype=torch.bfloat16)
        coded.quantise(kind)
        yield _cost(f"bf16, train.quantise={kind}", _loss(coded, clips), plain)


def _loss(world: World, clips: list[LatentClip]) -> float:
    return fmean(held_out_losses(world, clips, "image2world", SIGMAS, SHIFT, BATCH))


def _cost(name: str, loss: float, plain: float) -> Figure:
    return figure(f"held-out loss of the base in {name}, over fp32's", 100 * (loss / plain - 1), "%", "lower", None)
