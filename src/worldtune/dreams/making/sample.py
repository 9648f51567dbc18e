"""Sample dreams in batches: each continues its first frame, with noise that its seed and first frame determine.

Shapes: B dreams, C latent channels, T latent frames (frames_THWC: pictures), H×W pixels, N text tokens, D text width.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from worldtune.adapters.folder import adapter_loaded
from worldtune.core.seeds import derive_seed
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.dreams.making.plan import Dream, DreamModel, DreamSize
from worldtune.errors import DataError
from worldtune.generation.sampler import Guidance, sample
from worldtune.latents.store import Entry, load_tensor
from worldtune.models.vae.shapes import SPATIAL, latent_frames
from worldtune.models.world import World

BATCH = 8
BATCHED_LATENTS = 1_000_000  # largest B·C·T·H·W of a batch: fewer large videos are sampled at once


@dataclass(frozen=True)
class SamplingSettings:
    """The size of the videos, evaluations of the denoiser, and guidance."""

    size: DreamSize
    steps: int
    guidance: int


@dataclass(frozen=True)
class Texts:
    """The encoded prompts, and the encoding of a dropped prompt, in the latent store."""

    prompts: Mapping[str, Entry]
    dropped: Entry


def loaded(world: World, model: DreamModel) -> AbstractContextManager[None]:
    """Load the model's adapter for the block. Raise AdapterError if it does not fit the base or has changed."""
    return adapter_loaded(model.path, world.denoiser, world.card.digest, model.card)


def batch_size(world: World, size: DreamSize) -> int:
    """Return how many dreams are sampled at once."""
    latents = int(np.prod(_latent_shape(world, size)))
    return min(BATCH, max(1, BATCHED_LATENTS // latents))


def sample_batch(
    world: World, dreams: Sequence[Dream], texts: Texts, settings: SamplingSettings
) -> list[npt.NDArray[np.uint8]]:
    """Return the video of each dream, uint8 frames_THWC, made with the adapter that is loaded on `world`.

    A dream's noise depends on its seed and its first frame, so that every adapter starts from the same noise.
    Raise DataError if a video contains NaN or infinity.
    """
    shape = _latent_shape(world, settings.size)
    seeds = [derive_seed(dream.seed, dream.first_frame.digest) for dream in dreams]
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    noise_BCTHW = torch.stack(noise).to(world.device)
    frames_B1HWC = np.stack([dream.first_frame.frame_HWC[None] for dream in dreams])
    z_BCTHW = torch.zeros_like(noise_BCTHW)
    z_BCTHW[:, :, :1] = world.encode(torch.from_numpy(frames_B1HWC))
    text_BND = torch.stack([load_tensor(texts.prompts[dream.prompt]) for dream in dreams]).to(world.device)
    dropped_BND = load_tensor(texts.dropped).to(world.device)[None].expand_as(text_BND)
    generated_BCTHW = sample(
        world,
        Guidance(text_BND, dropped_BND, settings.guidance),
        noise_BCTHW,
        z_BCTHW,
        conditioning_mask(torch.ones(len(dreams), device=world.device), shape[1]),
        steps=settings.steps,
    )
    for dream, z_CTHW in zip(dreams, generated_BCTHW, strict=True):
        if not z_CTHW.isfinite().all():
            what = f"the dream {dream.name} contains NaN or infinity"
            raise DataError(what, where=dream.model.name, hint="Train the adapter again: its weights are unusable.")
    return list(np.asarray(world.decode(generated_BCTHW).cpu()))


def _latent_shape(world: World, size: DreamSize) -> tuple[int, int, int, int]:
    return (
        world.denoiser.config.out_channels,
        latent_frames(size.frames),
        size.height // SPATIAL,
        size.width // SPATIAL,
    )
