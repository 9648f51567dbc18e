"""The cost of lower precision: a base's held-out loss on its own domain, relative to fp32."""

from collections.abc import Iterator
from statistics import fmean
from typing import get_args

import torch

from benchmarks.pocket import held_out_spec
from worldtune.data.dataset import open_dataset
from worldtune.data.splits.spread import spread
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.models.load import open_world
from worldtune.models.quantization.linear import Kind
from worldtune.models.transformer.denoiser import keep_modulation_fp32
from worldtune.models.world import World
from worldtune.training.validation.held_out_loss import held_out_losses

SIGMAS, SHIFT, BATCH = 4, 5.0, 6


def measure_quality(base: str, store: LatentStore, count: int) -> Iterator[Figure]:
    """Yield the loss on `count` clips in bf16, in bf16 with modulation in fp32, and with each kind of quantization."""
    full_precision = open_world(base)
    chosen = spread(open_dataset(held_out_spec(full_precision)).clips, count)
    clips = encode_clips(full_precision, chosen, store)
    plain = _loss(full_precision, clips)
    bf16 = open_world(base, dtype=torch.bfloat16)
    yield _cost("bf16", _loss(bf16, clips), plain)
    keep_modulation_fp32(bf16.denoiser)
    yield _cost("bf16, train.modulation_fp32", _loss(bf16, clips), plain)
    for kind in get_args(Kind):
        quantized = open_world(base, dtype=torch.bfloat16)
        quantized.quantize(kind)
        yield _cost(f"bf16, train.quantization={kind}", _loss(quantized, clips), plain)


def _loss(world: World, clips: list[LatentClip]) -> float:
    return fmean(held_out_losses(world, clips, "image2world", SIGMAS, SHIFT, BATCH))


def _cost(name: str, loss: float, plain: float) -> Figure:
    return figure(f"held-out loss of the base in {name}, over fp32's", 100 * (loss / plain - 1), "%", "lower", None)
