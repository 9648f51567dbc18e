"""One request to one video: read its input, sample, decode, and write mp4 and manifest together.

Shapes: B clips, T frames, H×W pixels, C channels; N text tokens, D text width.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from worldtune.diffusion.conditioning import known_frames
from worldtune.episodes.video import write_video
from worldtune.files import atomic_file, write_json
from worldtune.generation.manifest import manifest
from worldtune.generation.resolve import Resolved, read_input
from worldtune.generation.sampler import sample
from worldtune.worlds.codec import SPATIAL, latent_frames
from worldtune.worlds.world import World


def generate(world: World, resolved: Resolved, on_step: Callable[[int], None] = lambda step: None) -> np.ndarray:
    """The video of one request as uint8 frames_THWC; the given frames are those of the input, decoded.

    Its adapter is on the world already. A negative prompt is cut to the length that the base reads.
    """
    request, known = resolved.request, resolved.request.known_latents
    channels = world.denoiser.config.out_channels
    z_shape = (
        1, channels, latent_frames(resolved.frames), resolved.height // SPATIAL, resolved.width // SPATIAL
    )  # fmt: skip
    noise_BCTHW = torch.randn(z_shape, generator=torch.Generator().manual_seed(request.seed)).to(world.device)
    z_BCTHW = torch.zeros(z_shape, device=world.device)
    if known:
        z_BCTHW[:, :, :known] = world.encode(torch.from_numpy(read_input(resolved))[None])
    text_1ND = world.encode_prompts([resolved.prompt])
    negative_1ND = world.encode_prompts([request.negative_prompt], cut=True) if request.guidance else text_1ND
    z_BCTHW = sample(
        world,
        text_1ND,
        negative_1ND,
        noise_BCTHW,
        z_BCTHW,
        known_frames(torch.tensor([known], device=world.device), z_shape[2]),
        steps=request.num_steps,
        guidance=request.guidance,
        on_step=on_step,
    )
    return world.decode(z_BCTHW)[0].cpu().numpy()


def write_result(world: World, resolved: Resolved, frames_THWC: np.ndarray, folder: Path) -> Path:
    """`folder/NAME.mp4` and `folder/NAME.json`: the manifest first, so that no video lacks its own."""
    path = folder / f"{resolved.request.name}.mp4"
    with atomic_file(path) as partial:
        write_video(partial, frames_THWC, resolved.fps)
        told = manifest(world, resolved, frames_THWC.shape, partial)
        path.unlink(missing_ok=True)
        write_json(path.with_suffix(".json"), told)
    return path
