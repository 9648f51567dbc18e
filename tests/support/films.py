"""Small videos to train on: a square crosses a plain background in the direction that the task states.

Shapes: T frames, H×W pixels, C colors.
"""

from pathlib import Path

import numpy as np

from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot

SIZE, FRAMES, FPS = 32, 9, 16
TASKS = {"the square goes right": (0, 2), "the square goes down": (2, 0)}


def film(number: int, task: str, background: tuple[int, int, int]) -> np.ndarray:
    """Return frames_THWC of one episode. Each number gives another start of the square or another brightness."""
    light, place = divmod(number // len(TASKS), 36)
    top, left = divmod(int(np.random.default_rng(0).permutation(36)[place]), 6)
    down, right = TASKS[task]
    frames_THWC = np.empty((FRAMES, SIZE, SIZE, 3), np.uint8)
    frames_THWC[:] = np.add(background, 12 * light) % 256
    for t, frame_HWC in enumerate(frames_THWC):
        frame_HWC[top + down * t :, left + right * t :][:9, :9] = (230, 60, 40)
    return frames_THWC


def films(count: int, background: tuple[int, int, int] = (40, 90, 150)) -> list[tuple[np.ndarray, str]]:
    """Return `count` videos with their tasks, which alternate."""
    tasks = list(TASKS)
    return [(film(i, tasks[i % 2], background), tasks[i % 2]) for i in range(count)]


def write_square_dataset(folder: Path, count: int, background: tuple[int, int, int] = (150, 140, 60)) -> Path:
    """Write `count` videos as a LeRobot dataset, with states and actions of two numbers."""
    rows = np.zeros((FRAMES, 2), np.float32)
    episodes = ((frames_THWC, rows, rows, task) for frames_THWC, task in films(count, background))
    write_lerobot(folder, episodes, fps=FPS, robot=Robot("square"), camera="observation.images.scene")
    return folder
