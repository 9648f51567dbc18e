"""Figures: `reached` is computed from value and goal."""

from hypothesis import given
from hypothesis import strategies as st

from worldtune.evaluation.report.figures import figure

numbers = st.floats(-1e6, 1e6)


@given(numbers, numbers)
def test_reached_follows_from_value_and_goal(value: float, goal: float) -> None:
    assert figure("x", value, "dB", "higher", goal)["reached"] == (value >= goal)
    assert figure("x", value, "dB", "lower", goal)["reached"] == (value <= goal)


def test_a_figure_that_was_not_measured_is_not_reached_and_says_why() -> None:
    row = figure("x", None, "s", "lower", 90.0, "not measured")
    assert row["value"] is None
    assert row["reached"] is False
    assert row["why"] == "not measured"


def test_without_a_goal_nothing_is_reached_or_missed() -> None:
    assert figure("x", 1.0, "", "lower")["reached"] is None
