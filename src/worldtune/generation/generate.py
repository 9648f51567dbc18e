"""Generate the video of one request: read its input, sample, decode, and write mp4 and manifest together.

Shapes: B clips, T frames, H×W pixels, C channels; N text tokens, D text width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from worldtune.core.files import atomic_file, write_json
from worldtune.core.progress import Progress, part_of, silent
from worldtune.data.video.decode import write_video
from worldtune.generation.chunk import ChunkSampling, ChunkSize, make_chunk, with_actions
from worldtune.generation.long_video import count_chunks, make_long
from worldtune.generation.manifest import EMPTY_RECORD, GenerationRecord, manifest
from worldtune.generation.sampler import Guidance
from worldtune.generation.validate_request import Resolved, read_input
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
        size = ChunkSize(resolved.chunk, resolved.height, resolved.width)
        first = number * (resolved.chunk - request.chunk_overlap)
        conditions = with_actions(guidance, resolved.actions, first, resolved.chunk, world)
        sampling = ChunkSampling(conditions, resolved.evaluations, request.seed + number, request.noise, request.name)
        return make_chunk(world, size, given_THWC, sampling, part)

    return make_long(resolved.frames, resolved.chunk, request.chunk_overlap, make)


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
