"""Replay of labels: execute the actions or the path of a video from the simulator state that it began in.

It bounds what a policy can learn from the labels: labels that fail here cannot be expected to teach the task.
Shapes: I intervals, T frames, D = 4 numbers of a command.
"""

from typing import TYPE_CHECKING

import numpy as np

from worldtune.policy.protocol import Control
from worldtune.policy.simulation.control import execute_row, interval_commands

if TYPE_CHECKING:
    from worldtune.sim.scene import Scene


def replay_commands(scene: "Scene", seed: int, commands_ID: np.ndarray) -> bool:
    """Return whether the task succeeds if the mean commands (I, 4) or all commands (I, 20) are executed."""
    seen = scene.reset(seed)
    for row in commands_ID:
        if seen.success:
            break
        seen = scene.step(interval_commands(row))
    return seen.success


def replay_path(scene: "Scene", seed: int, path_TS: np.ndarray, gripper_I: np.ndarray, gain: float) -> bool:
    """Return whether the task succeeds if the hand follows the displacements of the path (T, 3 or more).

    As in a policy's execution, each displacement starts where the hand really is.
    """
    control = Control("displacement", gain)
    seen = scene.reset(seed)
    for displacement_3, gripper in zip(np.diff(path_TS[:, :3], axis=0), gripper_I, strict=False):
        if seen.success:
            break
        row = np.append(displacement_3, gripper)
        seen = execute_row(scene, row, control, seen.state_S[:3] + displacement_3)
    return seen.success
