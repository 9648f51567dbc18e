"""One request to one video: read its input, sample, decode, and write mp4 and manifest together.

Shapes: B clips, T frames, H×W pixels, C channels; N text tokens, D text width.
"""

from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from worldtune.diffusion.conditioning import known_frames
from worldtune.episodes.video import fit_frame, read_frames, write_video
from worldtune.errors import DataError, RecipeError
from worldtune.files import atomic_file, write_json
from worldtune.generation.manifest import manifest
from worldtune.generation.request import GenerationRequest
from worldtune.generation.sampler import sample
from worldtune.worlds.codec import SPATIAL, TEMPORAL, latent_frames
from worldtune.worlds.world import World

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def generate(
    world: World, request: GenerationRequest, on_step: Callable[[int], None] = lambda step: None
) -> np.ndarray:
    """The video of one request as uint8 frames_THWC; the given frames are those of the input, decoded.

    Raises DataError for an input that cannot be read, RecipeError for sizes the base cannot make and prompts longer
    than it reads; a negative prompt is cut to that length.
    """
    frames, height, width = shape_of(world, request)
    known = request.known_latents
    channels = world.denoiser.config.out_channels
    z_shape = (1, channels, latent_frames(frames), height // SPATIAL, width // SPATIAL)
    noise_BCTHW = torch.randn(z_shape, generator=torch.Generator().manual_seed(request.seed)).to(world.device)
    z_BCTHW = torch.zeros(z_shape, device=world.device)
    if known:
        given_THWC = read_input(request, 1 + TEMPORAL * (known - 1), height, width)
        z_BCTHW[:, :, :known] = world.encode(torch.from_numpy(given_THWC)[None])
    text_1ND = world.encode_prompts([request.text()])
    negative_1ND = world.encode_prompts([request.negative_prompt], cut=True)
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


def write_result(world: World, request: GenerationRequest, frames_THWC: np.ndarray, folder: Path) -> Path:
    """`folder/NAME.mp4` and `folder/NAME.json`: the manifest first, so that no video lacks one."""
    path = folder / f"{request.name}.mp4"
    with atomic_file(path) as partial:
        write_video(partial, frames_THWC, world.card.fps)
        write_json(path.with_suffix(".json"), manifest(world, request, frames_THWC.shape, partial))
    return path


def read_input(request: GenerationRequest, count: int, height: int, width: int) -> np.ndarray:
    """The frames (count, H, W, 3) that condition a request: a picture, or the last ones of a video.

    Scaled to cover and cut at the centre, as NVIDIA's inference does.
    """
    path = request.input_path
    assert path is not None
    if not path.is_file():
        raise DataError("the input is missing", where=str(path), mend="Correct input_path.")
    if path.suffix.lower() in PICTURES:
        picture = cv2.imread(str(path))
        if picture is None:
            raise DataError("the picture cannot be read", where=str(path), mend="Convert it to PNG.")
        frames = [cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)]
    else:
        frames = list(deque(read_frames(path), maxlen=count))
    if len(frames) < count:
        raise DataError(
            f"{len(frames)} frames, but {request.inference_type} is given the last {count}",
            where=str(path),
            mend="Give a longer video, or ask for image2world.",
        )
    return np.stack([fit_frame(frame, height, width, "cover") for frame in frames])


def shape_of(world: World, request: GenerationRequest) -> tuple[int, int, int]:
    """Frames, height and width of the video. Raises RecipeError when the base cannot make it, or nothing is left to."""
    frames = request.num_output_frames or world.card.frames
    height, width = request.size or (world.card.height, world.card.width)
    world.check_size(frames, height, width, request.name)
    if latent_frames(frames) <= request.known_latents:
        raise RecipeError(
            f"all of its {frames} frames would be given by the input",
            where=request.name,
            mend="Raise num_output_frames.",
        )
    return frames, height, width
