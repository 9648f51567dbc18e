"""A robot that is a bright square: its states are its position, its commands move it."""

from pathlib import Path
from typing import Any

import numpy as np

from worldtune.core.settings import parse_model
from worldtune.data.export.lerobot_writer import Robot, write_lerobot
from worldtune.training.recipe import Recipe

SIZE, FRAMES, FPS = 32, 9, 16
GAIN = 2.0  # pixels per unit of a command
CAMERA = "observation.images.scene"


def square_episode(rng: np.random.Generator, kind: str = "delta") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames_THWC, states_TS (x, y in pixels, gripper) and actions_TA (two commands a frame).

    A command is (dx, dy, gripper); with `kind` "absolute" it is the next position. The gripper is the square's color.
    """
    start, velocity = rng.uniform(8, 24, 2), rng.uniform(-1, 1, 2)
    path_T2 = np.clip(start + np.arange(FRAMES)[:, None] * velocity * GAIN * 0.5, 5, 27)
    gripper_T = (np.arange(FRAMES) >= rng.integers(2, 7)).astype(np.float64)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    frames = []
    for (x, y), closed in zip(path_T2, gripper_T, strict=True):
        inside = np.clip(4.5 - np.maximum(abs(xx - x), abs(yy - y)), 0, 1)[..., None]
        frames.append(40 + inside * (np.array([200, 60, 60]) if closed else np.array([60, 60, 200])))
    moved = np.diff(path_T2, axis=0, append=path_T2[-1:]) / GAIN
    target = np.concatenate([path_T2[1:], path_T2[-1:]])
    close = np.append(gripper_T[1:], gripper_T[-1])[:, None]
    command = np.concatenate([moved if kind == "delta" else target, close], 1)
    spread = 0.2 * rng.normal(size=(FRAMES, 3)) * np.array([1, 1, 0])
    actions = np.concatenate([command - spread, command + spread], 1)  # the mean is the command
    states = np.concatenate([path_T2, gripper_T[:, None]], 1)
    return np.stack(frames).round().astype(np.uint8), states.astype(np.float32), actions.astype(np.float32)


def write_square_robot(folder: Path, episodes: int = 24, kind: str = "delta", seed: int = 0) -> Path:
    """Write a LeRobot dataset of the robot."""
    rng = np.random.default_rng(seed)
    write_lerobot(
        folder,
        ((*square_episode(rng, kind), "move the square") for _ in range(episodes)),
        FPS,
        Robot("square", ("square.x", "square.y", "gripper"), tuple(f"{s}.{n}" for s in "01" for n in ("x", "y", "g"))),
        CAMERA,
    )
    return folder


def square_recipe(base: Path, dataset: Path, kind: str = "delta", **idm: Any) -> Recipe:
    """Return a recipe with an `idm` section that trains in seconds."""
    columns = [0, 1, None] if kind == "delta" else None
    space = {"kind": kind, "commands_per_frame": 2, "state_columns": columns}
    size = {"frames": FRAMES, "fps": FPS, "height": SIZE, "width": SIZE}
    content = {
        "name": "square",
        "base": str(base),
        "data": {"path": str(dataset), "held_out": 0.25, "action_space": space, **size},
        "adapter": {"method": "lora", "rank": 2},
        "train": {"steps": 2, "batch": 2},
        "idm": {"members": 2, "steps": 400, "batch": 16, "lr": 0.01, "side": SIZE, "codec_share": 0.3} | idm,
    }
    return parse_model(Recipe, content, "test")
