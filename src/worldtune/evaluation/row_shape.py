"""Are the rows of a comparison complete: every candidate on every clip, by every metric that was run?"""

from collections.abc import Sequence
from typing import Final

from worldtune.evaluation.comparison import FROZEN, Comparison, Scores, Take
from worldtune.evaluation.measures import ACROSS, MEASURES

ALWAYS: Final = frozenset({"psnr_db", "moving_psnr_db", "motion_ratio", "moves", "differs"})
"""The metrics that every evaluation runs: the verdict, the figures and the mandatory gates need them."""


def shape_fault(stated: Comparison) -> str | None:
    """What makes the rows unfit to compute with: everything that the computation takes for granted."""
    names = [row.name for row in stated.rows]
    if not names or len(set(names)) < len(names):
        return "there is no clip, or two share a name"
    order = stated.candidates
    if len(set(order)) < len(order) or order[:1] != [stated.reference_candidate] or FROZEN not in order[1:]:
        return "the candidates do not begin with the reference candidate, lack a control or share a name"
    if strange := sorted(set(stated.not_run) - set(MEASURES) | set(stated.not_run) & ALWAYS):
        return f"{strange[0]!r} is not a metric that can be left out"
    if fault := _rivals_fault(stated):
        return fault
    run = {name for name in MEASURES if name not in stated.not_run}
    curves = stated.rows[0].scores.get(order[0], Scores({})).curves
    for row in stated.rows:
        if list(row.scores) != order or list(row.takes) != order:
            return f"{row.name}: a candidate is missing"
        if len({len(takes) for takes in row.takes.values()} - {1}) > 1:
            return f"{row.name}: candidates have different numbers of seeds"
        for name in order:
            if fault := _scores_fault(row.scores[name], row.takes[name], run, set(curves)):
                return f"{row.name}, {name}: {fault}"
    return None


def _rivals_fault(stated: Comparison) -> str | None:
    """Everybody must be held against the reference candidate and the frozen frame, and against nobody unknown."""
    for name in stated.candidates:
        result = stated.headline.results.get(name)
        if result is None or not set(result.against) <= set(stated.candidates) - {name}:
            return f"{name} has no results, or some against what was not compared"
        if missing := {stated.reference_candidate, FROZEN} - {name} - set(result.against):
            return f"{name} was not held against {min(missing)}"
    return None


def _scores_fault(scores: Scores, takes: Sequence[Take], run: set[str], curves: set[str]) -> str | None:
    if set(scores.values) != run or scores.values["psnr_db"] is None:
        return "its metrics are not those that were run"
    if set(scores.curves) != curves or "psnr_db" not in curves or not all(scores.curves.values()):
        return "its curves are not those of the others"
    if not takes or any(set(take.values) != run - ACROSS or take.values["psnr_db"] is None for take in takes):
        return "its takes have other metrics"
    return None
