"""Small videos with actions: a square moves as it is told, on a plain background.

Shapes: T frames, H×W pixels, C colors; a row of actions is (down, right) in pixels, twice: two commands a frame.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from support.films import FPS, FRAMES, SIZE
from support.training import recipe_data
from worldtune.core.settings import parse_model
from worldtune.data.export.lerobot_writer import Robot, write_lerobot
from worldtune.training.recipe import Recipe

SPACE = {"kind": "delta", "commands_per_frame": 2, "state_columns": [0, 1]}
PROMPT = "the square moves"


def acting_episode(start: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Return frames, states (the square's top left corner) and actions of one motion from `start`."""
    rng = np.random.default_rng(seed)
    commands_T22 = rng.integers(-1, 2, (FRAMES, 2, 2))
    frames_THWC = np.full((FRAMES, SIZE, SIZE, 3), (150, 140, 60), np.uint8)
    states, place = [], np.array(start)
    for t, frame_HWC in enumerate(frames_THWC):
        states.append(place.astype(np.float32))
        top, left = np.clip(place, 0, SIZE - 9)
        frame_HWC[top : top + 9, left : left + 9] = (230, 60, 40)
        place = place + commands_T22[t].sum(0)
    return frames_THWC, np.stack(states), commands_T22.reshape(FRAMES, 4).astype(np.float32), PROMPT


def write_acting_dataset(folder: Path, starts: int = 4, motions: int = 2) -> Path:
    """Write `motions` motions from each of `starts` starts."""
    episodes = [
        acting_episode((4 + 4 * start, 6 + 2 * start), 10 * start + motion)
        for start in range(starts)
        for motion in range(motions)
    ]
    write_lerobot(folder, episodes, fps=FPS, robot=Robot("square"), camera="observation.images.scene")
    return folder


def acting_recipe_data(base: Path, data: Path, **train: Any) -> dict[str, Any]:
    content = recipe_data(base, data, **train)
    content["data"]["action_space"] = SPACE
    content["adapter"]["actions"] = True
    return content


def acting_recipe(base: Path, data: Path, **train: Any) -> Recipe:
    return parse_model(Recipe, acting_recipe_data(base, data, **train), "test")
