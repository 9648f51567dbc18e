"""The columns of a table that make up states and actions."""

from dataclasses import dataclass

STATE, ACTION = "observation.state", "action"
IS_SYNTHETIC = "is_synthetic"
"""A column of booleans: true for a frame that a model generated."""


@dataclass(frozen=True)
class Columns:
    """The columns of states and of actions, in order; None: LeRobot's default column, if it exists."""

    state: tuple[str, ...] | None = None
    action: tuple[str, ...] | None = None

    @property
    def states(self) -> tuple[str, ...]:
        return (STATE,) if self.state is None else self.state

    @property
    def actions(self) -> tuple[str, ...]:
        return (ACTION,) if self.action is None else self.action


DEFAULT_COLUMNS = Columns()
