"""The verdict of a study in plain words, whatever it says."""

from worldtune.core.intervals.hierarchical_bootstrap import HierarchicalEstimate
from worldtune.dreams.study.analysis import TaskAnalysis
from worldtune.dreams.study.room import Room


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


def points(estimate: HierarchicalEstimate) -> str:
    """Return a difference in percentage points with its interval, such as "+31 points [12, 50]"."""
    return f"{100 * estimate.mean:+.0f} points [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"
