"""Generate the video of one request: read its input, sample, decode, and write mp4 and manifest together.

Shapes: B clips, T frames, H×W pixels, C channels; N text tokens, D text width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worldtune.core.files import atomic_file, write_json
from worldtune.core.progress import Progress, part_of, silent
from worldtune.core.tensors.finite import is_finite
from worldtune.data.video.decode import write_video
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.errors import DataError
from worldtune.generation.long_video import count_chunks, make_long
from worldtune.generation.manifest import EMPTY_RECORD, GenerationRecord, manifest
from worldtune.generation.sampler import Guidance, sample
from worldtune.generation.validate_request import Resolved, read_input
from worldtune.models.vae.shapes import SPATIAL, latent_frames
from worldtune.models.world import World

Texts = Mapping[str, Tensor]


def read_prompts(world: World, requests: Sequence[Resolved]) -> Texts:
    """Return the text_1ND of every prompt of the requests, each encoded once, and release the text encoder.

    A negative prompt is truncated to the length that the base reads.
    """
    prompts = [request.prompt for request in requests]
    prompts += [request.negative_prompt for request in requests if request.guidance]
    texts = {prompt: world.encode_prompts([prompt], cut=True) for prompt in dict.fromkeys(prompts)}
    world.release_encoders()
    return texts


def generate(world: World, resolved: Resolved, texts: Texts, progress: Progress = silent) -> np.ndarray:
    """Return the video of one request as uint8 frames_THWC, beginning with the input's frames after the codec.

    Its adapters must be on the world, its prompts among `texts`. `progress` counts evaluations of the denoiser.
    """
    request = resolved.request
    text_1ND = texts[resolved.prompt]
    negative_1ND = texts[resolved.negative_prompt] if resolved.guidance else text_1ND
    guidance = Guidance(text_1ND, negative_1ND, resolved.guidance)
    total = resolved.evaluations * count_chunks(resolved.frames, resolved.chunk, request.chunk_overlap)

    def make(given_THWC: np.ndarray | None, number: int) -> np.ndarray:
        if given_THWC is None and request.known_latents:
            given_THWC = read_input(resolved)
        part = part_of(progress, number * resolved.evaluations, total)
        return _chunk(world, resolved, given_THWC, guidance, request.seed + number, part)

    return make_long(resolved.frames, resolved.chunk, request.chunk_overlap, make)


def _chunk(
    world: World,
    resolved: Resolved,
    given_THWC: np.ndarray | None,
    guidance: Guidance,
    seed: int,
    progress: Progress,
) -> np.ndarray:
    """Return one chunk of frames_THWC that continues the given frames. Raise DataError for NaN and infinity."""
    known = 0 if given_THWC is None else latent_frames(len(given_THWC))
    shape = (latent_frames(resolved.chunk), resolved.height // SPATIAL, resolved.width // SPATIAL)
    noise_BCTHW = draw_noise((1, world.denoiser.config.out_channels, *shape), seed, resolved.request.noise)
    noise_BCTHW = noise_BCTHW.to(world.device)
    z_BCTHW = torch.zeros_like(noise_BCTHW)
    if given_THWC is not None:
        z_BCTHW[:, :, :known] = world.encode(torch.from_numpy(np.ascontiguousarray(given_THWC))[None])
    z_BCTHW = sample(
        world,
        guidance,
        noise_BCTHW,
        z_BCTHW,
        conditioning_mask(torch.tensor([known], device=world.device), shape[0]),
        steps=resolved.evaluations,
        progress=progress,
    )
    if not is_finite(z_BCTHW):
        what = "the generated video contains NaN or infinity"
        hint = "Generate without the adapter, or with lower guidance, to find which one causes it."
        raise DataError(what, where=resolved.request.name, hint=hint)
    return world.decode(z_BCTHW)[0].cpu().numpy()


def draw_noise(shape: tuple[int, ...], seed: int, convention: Literal["torch", "numpy"]) -> Tensor:
    """Return standard normal noise for a seed, from torch's generator or, as in NVIDIA's tool, numpy's RandomState."""
    if convention == "numpy":
        return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def write_result(
    world: World, resolved: Resolved, frames_THWC: np.ndarray, folder: Path, record: GenerationRecord = EMPTY_RECORD
) -> Path:
    """Write `folder/NAME.json` and then `folder/NAME.mp4`, so that no video lacks its manifest. Return the mp4."""
    path = folder / f"{resolved.request.name}.mp4"
    with atomic_file(path) as partial:
        write_video(partial, frames_THWC, resolved.fps)
        content = manifest(world, resolved, frames_THWC.shape, partial, record)
        path.unlink(missing_ok=True)
        write_json(path.with_suffix(".json"), content)
    return path
