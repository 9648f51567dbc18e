"""One request to one video: read its input, sample, decode, and write mp4 and manifest together.

Shapes: B clips, T frames, H×W pixels, C channels; N text tokens, D text width.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worldtune.diffusion.conditioning import known_frames
from worldtune.episodes.video import write_video
from worldtune.files import atomic_file, write_json
from worldtune.generation.long_video import make_long
from worldtune.generation.manifest import ALONE, Made, manifest
from worldtune.generation.resolve import Resolved, read_input
from worldtune.generation.sampler import sample
from worldtune.worlds.latent_size import SPATIAL, latent_frames
from worldtune.worlds.world import World

Texts = Mapping[str, Tensor]


def read_prompts(world: World, requests: Sequence[Resolved]) -> Texts:
    """The text_1ND of every prompt of some requests, each read once; then the text encoder is let go.

    A negative prompt is cut to the length that the base reads.
    """
    prompts = [one.prompt for one in requests]
    prompts += [one.request.negative_prompt for one in requests if one.request.guidance]
    texts = {prompt: world.encode_prompts([prompt], cut=True) for prompt in dict.fromkeys(prompts)}
    world.release_encoders()
    return texts


def generate(
    world: World, resolved: Resolved, texts: Texts, on_step: Callable[[int], None] = lambda step: None
) -> np.ndarray:
    """The video of one request as uint8 frames_THWC; the given frames are those of the input, decoded.

    Its adapters are on the world already, its prompts among `texts`.
    """
    request = resolved.request
    text_1ND = texts[resolved.prompt]
    negative_1ND = texts[request.negative_prompt] if request.guidance else text_1ND

    def make(given_THWC: np.ndarray | None, number: int) -> np.ndarray:
        if given_THWC is None and request.known_latents:
            given_THWC = read_input(resolved)
        before = number * resolved.evaluations
        return _chunk(
            world, resolved, given_THWC, text_1ND, negative_1ND, request.seed + number, lambda s: on_step(before + s)
        )

    return make_long(resolved.frames, resolved.chunk, request.chunk_overlap, make)


def _chunk(
    world: World,
    resolved: Resolved,
    given_THWC: np.ndarray | None,
    text_1ND: Tensor,
    negative_1ND: Tensor,
    seed: int,
    on_step: Callable[[int], None],
) -> np.ndarray:
    """The frames_THWC that are made at once, going on from the given ones."""
    known = 0 if given_THWC is None else latent_frames(len(given_THWC))
    shape = (latent_frames(resolved.chunk), resolved.height // SPATIAL, resolved.width // SPATIAL)
    noise_BCTHW = draw_noise((1, world.denoiser.config.out_channels, *shape), seed, resolved.request.noise)
    noise_BCTHW = noise_BCTHW.to(world.device)
    z_BCTHW = torch.zeros_like(noise_BCTHW)
    if given_THWC is not None:
        z_BCTHW[:, :, :known] = world.encode(torch.from_numpy(np.ascontiguousarray(given_THWC))[None])
    z_BCTHW = sample(
        world,
        text_1ND,
        negative_1ND,
        noise_BCTHW,
        z_BCTHW,
        known_frames(torch.tensor([known], device=world.device), shape[0]),
        steps=resolved.evaluations,
        guidance=resolved.request.guidance,
        on_step=on_step,
    )
    return world.decode(z_BCTHW)[0].cpu().numpy()


def draw_noise(shape: tuple[int, ...], seed: int, convention: Literal["torch", "numpy"]) -> Tensor:
    """Standard normal noise of a seed: torch's generator, or numpy's RandomState as NVIDIA's tool draws it."""
    if convention == "numpy":
        return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def write_result(world: World, resolved: Resolved, frames_THWC: np.ndarray, folder: Path, made: Made = ALONE) -> Path:
    """`folder/NAME.mp4` and `folder/NAME.json`: the manifest first, so that no video lacks its own."""
    path = folder / f"{resolved.request.name}.mp4"
    with atomic_file(path) as partial:
        write_video(partial, frames_THWC, resolved.fps)
        told = manifest(world, resolved, frames_THWC.shape, partial, made)
        path.unlink(missing_ok=True)
        write_json(path.with_suffix(".json"), told)
    return path
