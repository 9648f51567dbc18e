"""Dreams whose frames show their numbers, and real datasets to mix them with.

Shapes: T frames, D numbers of a command, S numbers of a state, A numbers of an action, I = T − 1 frame intervals.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.videos import film
from worldtune.core.actions.space import ActionSpace
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.data.sources.lerobot.layouts import Version
from worldtune.dreams.export import ExportedDreams, LabeledEpisode, export_dreams

CAMERA = "observation.images.scene"
FPS = 16
SPACE = ActionSpace(kind="delta", commands_per_frame=2, state_columns=(0, None))
ROBOT = Robot("sawyer", ["x", "gripper"], ["0.dx", "0.gripper", "1.dx", "1.gripper"])
LINEAGE = {
    "adapter": "a" * 64,
    "base": "b" * 64,
    "prompt": "the robot lifts the cup",
    "seed": "7",
    "idm": "c" * 64,
    "critics": "motion=" + "d" * 64,
    "first_frame": "data/real episode 000003, camera scene",
}


def commands(length: int, tag: int) -> np.ndarray:
    """Return (I, 2): a displacement that changes, and a gripper that closes halfway."""
    t = np.arange(length - 1)
    return np.stack([np.sin(t + tag), np.where(t > length // 2, 1, -1)], 1).astype(np.float32)


def states(length: int, tag: int) -> np.ndarray:
    return np.stack([np.arange(length) + tag, np.ones(length)], 1).astype(np.float32)


def dream(length: int = 9, tag: int = 0, task: str = "lift the cup", **changes: Any) -> LabeledEpisode:
    """Return a dream whose frames show `tag` and their number."""
    lineage = LINEAGE | {"seed": str(tag)}
    labels = {"states_TS": states(length, tag), "commands_ID": commands(length, tag)}
    parts: dict[str, Any] = labels | {"lineage": lineage} | changes
    return LabeledEpisode(film(length, tag), task=task, **parts)


def export(folder: Path, dreams: Sequence[LabeledEpisode], **changes: Any) -> ExportedDreams:
    settings = {"fps": FPS, "robot": ROBOT, "camera": CAMERA, "action_space": SPACE} | changes
    return export_dreams(dreams, folder, **settings)


def write_real(folder: Path, lengths: Sequence[int] = (8, 12), version: Version = "v3.0", **changes: Any) -> Path:
    """Write a dataset of a robot: commands within a frame interval differ, as those of a robot do."""
    settings = {"fps": FPS, "robot": ROBOT, "camera": CAMERA} | changes
    episodes = []
    for tag, length in enumerate(lengths):
        first = commands(length + 1, tag)
        actions_TA = np.concatenate([first, first * [0.5, 1]], 1).astype(np.float32)
        episodes.append((film(length, 100 + tag), states(length, tag), actions_TA, "lift the cup"))
    write_lerobot(folder, episodes, version=version, **settings)
    return folder
