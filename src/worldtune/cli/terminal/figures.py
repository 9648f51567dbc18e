"""Print figures: name, value, goal, and whether the goal was reached."""

from collections.abc import Mapping, Sequence
from typing import Any

from worldtune.cli.terminal.output import echo


def say(figures: Sequence[Mapping[str, Any]]) -> None:
    """Print one line for each figure."""
    width = max(len(row["name"]) for row in figures)
    for row in figures:
        sign = {"higher": "≥", "lower": "≤"}[row["better"]]
        goal = "" if row["goal"] is None else f"{sign} {row['goal']:g}"
        mark = {None: "", True: "reached", False: "NOT REACHED"}[row["reached"]]
        echo(f"{row['name']:<{width}}  {_value(row):>12}  {goal:<8} {mark}".rstrip())


def _value(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return str(row["why"])
    return (
        f"{row['value']:.3g} {row['unit']}".strip() if abs(row["value"]) < 10 else f"{row['value']:.1f} {row['unit']}"
    )
