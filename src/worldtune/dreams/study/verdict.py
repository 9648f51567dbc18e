"""The verdict of a study in plain words, whatever it says."""

from typing import Protocol

from worldtune.dreams.study.analysis import TaskAnalysis
from worldtune.dreams.study.room import Room


class Interval(Protocol):
    """A mean with the ends of its 95 % interval."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def task_verdict(task: str, room: Room, analysis: TaskAnalysis) -> str:
    """Return one sentence about a task."""
    if not room.is_tested:
        return f"{task}: {room.reason}."
    pair = analysis.difference.get(("lora", "real"))
    if pair is None:
        return f"{task}: no dreams were tested."
    shuffled = analysis.difference.get(("lora", "shuffled"))
    found = f"{task}: dreams change success by {points(pair)}"
    if pair.high < 0:
        return f"{found}: they harm the policy."
    if pair.low <= 0:
        return f"{found}: no effect is shown."
    if shuffled is None:
        return f"{found}: they help, but without the control with shuffled labels it is open why."
    if shuffled.low <= 0:
        return (
            f"{found}, but by only {points(shuffled)} against shuffled labels: what helps may be more pictures alone."
        )
    return f"{found}, and by {points(shuffled)} against shuffled labels: dreams help."


def points(estimate: Interval) -> str:
    """Return a difference in percentage points with its interval, such as "+31 points [12, 50]"."""
    return f"{100 * estimate.mean:+.0f} points [{_end(100 * estimate.low)}, {_end(100 * estimate.high)}]"


def _end(points: float) -> str:
    """Return an end of an interval as a whole number, with more digits if that would hide which side of 0 it is on."""
    return f"{points:.0f}" if round(points) or not points else f"{points:.1g}"
