"""What a policy sees and returns: the protocol of the trained policies here and of policies from outside.

Shapes: H, W pixels (frames) or H intervals of a chunk, S state numbers, A numbers of a chunk's row.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Output = Literal["displacement", "command"]


@dataclass(frozen=True)
class Observation:
    """What a policy sees before a frame interval: the frame and the episode's first frame, uint8 (H, W, 3), the hand's
    state (S,), and the task in words."""

    frame_HWC: np.ndarray
    first_HWC: np.ndarray
    state_S: np.ndarray
    prompt: str


@dataclass(frozen=True)
class Control:
    """How a chunk's rows become commands.

    output: "command": a row is the mean command of an interval (4 numbers), or each of its commands (20 numbers).
    "displacement": a row is the hand's displacement over an interval in meters, then the gripper command; a P
    controller with `gain` (command per meter of distance) moves the hand there. executed: the rows of a chunk that are
    executed before the policy is asked again.
    """

    output: Output
    gain: float = 40.0
    executed: int = 1


class Policy(Protocol):
    """A policy for closed-loop evaluation."""

    @property
    def control(self) -> Control: ...

    def reset(self) -> None:
        """Start an episode."""
        ...

    def act(self, observation: Observation) -> np.ndarray:
        """Return the next chunk (H, A) of at least `control.executed` rows."""
        ...
