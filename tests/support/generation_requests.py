"""Requests of the tiny world, and what is made of them."""

from collections.abc import Callable

import numpy as np

from support.films import film
from worldtune.generation.generate import generate, read_prompts
from worldtune.generation.request import GenerationRequest
from worldtune.generation.resolve import Resolved, resolve
from worldtune.worlds.world import World

FILM = film(3, "the square goes right", (60, 100, 140))


def request(kind: str = "text2world", **fields: object) -> GenerationRequest:
    defaults = {"name": "clip", "prompt": "the square goes right", "resolution": "32,32", "num_output_frames": 9}
    return GenerationRequest.model_validate({"inference_type": kind, "num_steps": 2, "guidance": 0} | defaults | fields)


def make(world: World, asked: GenerationRequest) -> np.ndarray:
    return made(world, resolve(world, asked))


def made(world: World, resolved: Resolved, on_step: Callable[[int], None] = lambda step: None) -> np.ndarray:
    return generate(world, resolved, read_prompts(world, [resolved]), on_step)
