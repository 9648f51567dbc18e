"""Generation requests for the tiny world, and their videos."""

import numpy as np

from support.films import film
from worldtune.core.progress import Progress, silent
from worldtune.generation.generate import generate, read_prompts
from worldtune.generation.request import GenerationRequest
from worldtune.generation.validate_request import Resolved, resolve
from worldtune.models.world import World

FILM = film(3, "the square goes right", (60, 100, 140))


def request(kind: str = "text2world", **fields: object) -> GenerationRequest:
    defaults = {"name": "clip", "prompt": "the square goes right", "resolution": "32,32", "num_output_frames": 9}
    return GenerationRequest.model_validate({"inference_type": kind, "num_steps": 2, "guidance": 0} | defaults | fields)


def make(world: World, wanted: GenerationRequest) -> np.ndarray:
    return made(world, resolve(world, wanted))


def made(world: World, resolved: Resolved, progress: Progress = silent) -> np.ndarray:
    return generate(world, resolved, read_prompts(world, [resolved]), progress)
