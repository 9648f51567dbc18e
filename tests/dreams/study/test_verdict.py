"""The sentence about a task, for each outcome."""

import pytest

from worldtune.core.intervals.hierarchical_bootstrap import HierarchicalEstimate
from worldtune.dreams.study.analysis import TaskAnalysis
from worldtune.dreams.study.room import Room
from worldtune.dreams.study.verdict import points, task_verdict

ROOM = Room(real=0.5, oracle=1.0, replay=1.0, reason="")
HELPS, NOTHING, HARMS = (0.31, 0.12, 0.5), (0.05, -0.1, 0.2), (-0.3, -0.5, -0.004)


def estimate(mean: float, low: float, high: float) -> HierarchicalEstimate:
    return HierarchicalEstimate(mean, low, high, 3, 2, 40, ("draws", "seeds", "resets"))


@pytest.mark.parametrize(
    ("over_real", "over_shuffled", "sentence"),
    [
        (HELPS, HELPS, "+31 points [12, 50], and by +31 points [12, 50] against shuffled labels: dreams help."),
        (
            HELPS,
            NOTHING,
            "+31 points [12, 50], but by only +5 points [-10, 20] against shuffled labels: what helps may be more "
            "pictures alone.",
        ),
        (HELPS, None, "+31 points [12, 50]: they help, but without the control with shuffled labels it is open why."),
        (NOTHING, HELPS, "+5 points [-10, 20]: no effect is shown."),
        (HARMS, HELPS, "-30 points [-50, -0.4]: they harm the policy."),
    ],
)
def test_each_outcome_has_a_sentence(
    over_real: tuple[float, float, float], over_shuffled: tuple[float, float, float] | None, sentence: str
) -> None:
    difference = {("lora", "real"): estimate(*over_real)}
    if over_shuffled is not None:
        difference["lora", "shuffled"] = estimate(*over_shuffled)
    analysis = TaskAnalysis({}, {}, difference, None)  # type: ignore[arg-type]
    assert task_verdict("reach", ROOM, analysis) == f"reach: dreams change success by {sentence}"


def test_task_without_room_or_dreams() -> None:
    nothing = TaskAnalysis({}, {}, {}, None)
    full = Room(real=0.9, oracle=1.0, replay=1.0, reason="no room: real demonstrations reach 90%, true clips 100%")
    assert task_verdict("reach", full, nothing) == f"reach: {full.reason}."
    assert task_verdict("reach", ROOM, nothing) == "reach: no dreams were tested."


def test_points_keep_the_side_of_zero() -> None:
    assert points(estimate(0.0, 0.0, 0.0)) == "+0 points [0, 0]"
    assert points(estimate(0.101, 0.004, 0.25)) == "+10 points [0.4, 25]"
