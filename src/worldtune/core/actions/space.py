"""What the numbers of `action` mean: declared by the user, because data alone cannot tell deltas from targets.

Shapes: T rows, A numbers of a row, C commands of one frame interval, D numbers of one command (A = C·D).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from worldtune.core.settings import StrictModel
from worldtune.errors import DataError

Array = npt.NDArray[np.float32]


class ActionSpace(StrictModel):
    """The meaning of `action`: `kind` is "delta" (a change) or "absolute" (a target).

    commands_per_frame: how many commands of equal length a row holds, if the robot is commanded faster than it is
    filmed. With `kind: delta`, `state_columns` names, for each number of a command, the state column that it changes,
    or None if it changes no state (such as a gripper command, which is then absolute).
    """

    kind: Literal["delta", "absolute"]
    commands_per_frame: int = Field(1, ge=1)
    state_columns: tuple[int | None, ...] | None = None

    def command_size(self, numbers: int, where: str) -> int:
        """Return how many numbers a command has. Raise DataError if the rows do not divide into the commands."""
        if numbers % self.commands_per_frame:
            what = f"{numbers} numbers in a row of `action` are not {self.commands_per_frame} commands of equal length"
            raise DataError(what, where=where, hint="Correct action_space.commands_per_frame.")
        size = numbers // self.commands_per_frame
        if self.state_columns is not None and len(self.state_columns) != size:
            what = f"state_columns names {len(self.state_columns)} columns, but a command has {size} numbers"
            raise DataError(what, where=where, hint="Name one state column, or null, for each number of a command.")
        return size

    def mean_command(self, actions_TA: Array) -> Array:
        """Return the mean command of each frame interval, (T, D)."""
        size = self.command_size(actions_TA.shape[1], "action")
        return actions_TA.reshape(len(actions_TA), self.commands_per_frame, size).mean(1)

    def spread_evenly(self, command_TD: Array) -> Array:
        """Return rows of `action`, (T, A), in which each command of an interval is the interval's mean command."""
        return np.tile(command_TD, (1, self.commands_per_frame))

    def delta_numbers(self, size: int) -> tuple[int, ...]:
        """Return which of a command's `size` numbers are deltas; without `state_columns`, all of them."""
        if self.kind == "absolute":
            return ()
        columns = self.state_columns
        return tuple(n for n in range(size) if columns is None or columns[n] is not None)

    def summed(self, actions_TA: Array) -> Array:
        """Return the sum of all commands' deltas until the end of each frame interval, (T, number of deltas).

        Rotations are added like translations, which is exact for one axis and approximate for several.
        """
        size = self.command_size(actions_TA.shape[1], "action")
        deltas = list(self.delta_numbers(size))
        commands_TCD = actions_TA.reshape(len(actions_TA), self.commands_per_frame, size)
        return commands_TCD[:, :, deltas].sum(1, dtype=np.float64).cumsum(0).astype(np.float32)

    def hold(self, row_A: Array) -> Array:
        """Return the row of a robot that holds still after `row_A`: no delta, and the last command's other numbers."""
        size = self.command_size(len(row_A), "action")
        command_D = row_A[-size:].copy()
        command_D[list(self.delta_numbers(size))] = 0.0
        return np.tile(command_D, self.commands_per_frame)
