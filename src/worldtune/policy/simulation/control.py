"""From a chunk's rows to commands: mean commands are repeated, displacements are followed by a P controller.

Shapes: C commands of one frame interval, D numbers of a command, A numbers of a row.
"""

from typing import TYPE_CHECKING

import numpy as np

from worldtune.errors import DataError
from worldtune.policy.protocol import Control

if TYPE_CHECKING:
    from worldtune.sim.scene import Scene, SceneState

COMMANDS, NUMBERS = 5, 4  # of a frame interval of the Meta-World scenes, and of a command


def execute_row(scene: "Scene", row_A: np.ndarray, control: Control, target_3: np.ndarray) -> "SceneState":
    """Execute one frame interval in the scene, and return what is seen after it.

    `target_3` is where the hand should be after the interval; it is used for displacements.
    """
    if control.output == "command":
        return scene.step(interval_commands(row_A))
    gripper = row_A[3]
    return scene.control(lambda state_S: np.append(control.gain * (target_3 - state_S[:3]), gripper))


def interval_commands(row_A: np.ndarray) -> np.ndarray:
    """Return the commands (5, 4) of a row with the mean command (4 numbers) or each command (20 numbers)."""
    return row_A.reshape(-1, NUMBERS).repeat(COMMANDS if row_A.size == NUMBERS else 1, axis=0)


def check_chunk(chunk_HA: np.ndarray, control: Control, where: str) -> None:
    """Raise DataError if the scene cannot execute the chunk."""
    sizes = (NUMBERS, NUMBERS * COMMANDS) if control.output == "command" else (NUMBERS,)
    if chunk_HA.ndim != 2 or len(chunk_HA) < control.executed or chunk_HA.shape[1] not in sizes:
        what = f"the policy returns actions of shape {chunk_HA.shape}"
        rows = " or ".join(map(str, sizes))
        hint = f"Return (intervals, {rows}) numbers, at least {control.executed} intervals."
        raise DataError(what, where=where, hint=hint)
    if not np.isfinite(chunk_HA).all():
        raise DataError("the policy returns NaN or infinity", where=where, hint="Check its training.")
