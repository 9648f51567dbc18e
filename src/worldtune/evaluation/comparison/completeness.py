"""Check that the rows of a comparison are complete: every candidate, on every clip, by every metric that was run."""

from collections.abc import Sequence
from typing import Final

from worldtune.evaluation.results import FROZEN, Comparison, SeedScore
from worldtune.evaluation.scores import EndPoint, Scores
from worldtune.evaluation.scoring.metric_definitions import ACROSS_CASES, ACROSS_SEEDS, METRICS

REQUIRED_METRICS: Final = frozenset({"psnr_db", "moving_psnr_db", "motion_ratio", "moves", "base_difference"})
"""The metrics of every evaluation: the verdict, the figures and the mandatory gates need them."""

AXES: Final = 3


def find_fault(stated: Comparison) -> str | None:
    """Return why the rows cannot be computed with, or None. The computation relies on everything checked here."""
    names = [row.name for row in stated.rows]
    if not names or len(set(names)) < len(names):
        return "there are no clips, or two share a name"
    order = stated.candidates
    if len(set(order)) < len(order) or order[:1] != [stated.reference_candidate] or FROZEN not in order[1:]:
        return "the reference candidate is not first, the frozen control is missing, or two candidates share a name"
    if invalid := sorted(set(stated.not_run) - set(METRICS) | set(stated.not_run) & REQUIRED_METRICS):
        return f"{invalid[0]!r} is not an optional metric"
    if fault := _find_baseline_fault(stated):
        return fault
    if len(set(ACROSS_CASES) - set(stated.not_run)) not in (0, len(ACROSS_CASES)):
        return "of the metrics of end points over a task's clips, only some were run"
    run = {name for name in METRICS if name not in stated.not_run}
    curves = stated.rows[0].scores.get(order[0], Scores({})).curves
    for row in stated.rows:
        if list(row.scores) != order or list(row.seed_scores) != order:
            return f"{row.name}: a candidate is missing"
        if len({len(seed_scores) for seed_scores in row.seed_scores.values()} - {1}) > 1:
            return f"{row.name}: candidates have different numbers of seeds"
        if fault := _find_end_point_fault([row.scores[name].end_point for name in order]):
            return f"{row.name}: {fault}"
        for name in order:
            if fault := _find_scores_fault(row.scores[name], row.seed_scores[name], run, set(curves)):
                return f"{row.name}, {name}: {fault}"
    return None


def _find_baseline_fault(stated: Comparison) -> str | None:
    """Return a fault unless every candidate is compared with the base, the frozen control and known candidates only."""
    for name in stated.candidates:
        result = stated.headline.results.get(name)
        if result is None or not set(result.against) <= set(stated.candidates) - {name}:
            return f"{name} has no results, or results against an unknown candidate"
        if missing := {stated.reference_candidate, FROZEN} - {name} - set(result.against):
            return f"{name} was not compared with {min(missing)}"
    return None


def _find_end_point_fault(end_points: Sequence[EndPoint | None]) -> str | None:
    """Return a fault unless all candidates have an end point in three axes, or none, with the same real one."""
    known = [end_point for end_point in end_points if end_point is not None]
    if len(known) not in (0, len(end_points)):
        return "a candidate has no end point"
    if any(
        len(point) != AXES
        for known_one in known
        for point in (known_one.generated, known_one.real, known_one.reader_error)
    ):
        return "an end point has not three coordinates"
    return None if len({(*p.real, *p.reader_error) for p in known}) <= 1 else "candidates differ in the real end point"


def _find_scores_fault(scores: Scores, seed_scores: Sequence[SeedScore], run: set[str], curves: set[str]) -> str | None:
    if set(scores.values) != run or scores.values["psnr_db"] is None:
        return "its metrics are not those that were run"
    if set(scores.curves) != curves or "psnr_db" not in curves or not all(scores.curves.values()):
        return "its curves are not those of the others"
    if not seed_scores or any(
        set(seed_score.values) != run - ACROSS_SEEDS - set(ACROSS_CASES) or seed_score.values["psnr_db"] is None
        for seed_score in seed_scores
    ):
        return "its scores by seed have other metrics"
    return None
