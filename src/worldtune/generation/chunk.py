"""One chunk of a video: noise to latents to frames, with given frames at its beginning.

Shapes: B clips, T frames, H×W pixels, C channels.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worldtune.core.progress import Progress
from worldtune.core.tensors.finite import is_finite
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.errors import DataError
from worldtune.generation.action_request import VideoActions
from worldtune.generation.sampler import Guidance, sample
from worldtune.models.vae.shapes import SPATIAL, latent_frames
from worldtune.models.world import World


@dataclass(frozen=True)
class ChunkSize:
    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class ChunkSampling:
    """How a chunk is sampled; `name` is that of its video, for errors."""

    guidance: Guidance
    evaluations: int
    seed: int
    noise: Literal["torch", "numpy"]
    name: str


def with_actions(guidance: Guidance, actions: VideoActions | None, first: int, frames: int, world: World) -> Guidance:
    """Return the guidance with the actions of the `frames` frames from frame `first` on, if there are actions."""
    if actions is None:
        return guidance
    inputs = actions.chunk(first, frames).to(world.device)
    return replace(guidance, actions=inputs, action_strength=actions.strength)


def make_chunk(
    world: World, size: ChunkSize, given_THWC: np.ndarray | None, sampling: ChunkSampling, progress: Progress
) -> np.ndarray:
    """Return one chunk of frames_THWC that continues the given frames. Raise DataError for NaN and infinity."""
    known = 0 if given_THWC is None else latent_frames(len(given_THWC))
    shape = (latent_frames(size.frames), size.height // SPATIAL, size.width // SPATIAL)
    noise_BCTHW = draw_noise((1, world.denoiser.config.out_channels, *shape), sampling.seed, sampling.noise)
    noise_BCTHW = noise_BCTHW.to(world.device)
    z_BCTHW = torch.zeros_like(noise_BCTHW)
    if given_THWC is not None:
        z_BCTHW[:, :, :known] = world.encode(torch.from_numpy(np.ascontiguousarray(given_THWC))[None])
    z_BCTHW = sample(
        world,
        sampling.guidance,
        noise_BCTHW,
        z_BCTHW,
        conditioning_mask(torch.tensor([known], device=world.device), shape[0]),
        steps=sampling.evaluations,
        progress=progress,
    )
    if not is_finite(z_BCTHW):
        what = "the generated video contains NaN or infinity"
        hint = "Generate without the adapter, or with lower guidance, to find which one causes it."
        raise DataError(what, where=sampling.name, hint=hint)
    return world.decode(z_BCTHW)[0].cpu().numpy()


def draw_noise(shape: tuple[int, ...], seed: int, convention: Literal["torch", "numpy"]) -> Tensor:
    """Return standard normal noise for a seed, from torch's generator or, as in NVIDIA's tool, numpy's RandomState."""
    if convention == "numpy":
        return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
