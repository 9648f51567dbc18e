"""Check that a report is consistent: recompute everything in it that follows from its scores."""

import re
from typing import TYPE_CHECKING

from worldtune.errors import DataError
from worldtune.evaluation.comparison.recompute import check_comparison, check_gate_results, find_difference
from worldtune.evaluation.report.comparison_figures import comparison_figures
from worldtune.evaluation.report.verdict import verdict
from worldtune.evaluation.report.votes import check_votes
from worldtune.evaluation.results import CONTROLS, REFERENCE, Comparison
from worldtune.evaluation.sampling_plan import suite_digest

if TYPE_CHECKING:
    from worldtune.evaluation.report.saved_report import SavedReport

VIDEO_PATH = re.compile(r"videos/[a-z0-9][a-z0-9.-]*\.mp4")
HINT = "Run the evaluation again."


def shown_seeds(comparison: Comparison, subject: str) -> dict[str, int]:
    """Return by case the seed of the shown videos: the seed at which the subject gains the least over the base."""
    base = comparison.reference_candidate
    return {row.name: row.seed_scores[subject][row.worst_seed_index(subject, base)].seed for row in comparison.rows}


def check_consistency(saved: "SavedReport", where: str) -> None:
    """Raise DataError if a report contradicts its scores, its policy, its plan or its list of videos."""
    comparison = saved.comparison
    generated = [name for name in comparison.candidates if name not in CONTROLS]
    if saved.columns != [REFERENCE, *generated]:
        raise DataError("the columns are not the compared candidates", where=where, hint=HINT)
    if saved.verdict_subject not in set(generated) - {comparison.reference_candidate}:
        raise DataError(f"the subject {saved.verdict_subject!r} was not compared", where=where, hint=HINT)
    scored = [list(row.scores) for row in comparison.rows]
    tested = [list(group.results) for group in (comparison.headline, *comparison.domains)]
    if any(names != comparison.candidates for names in (*scored, *tested)):
        raise DataError("a clip or a group lacks a candidate", where=where, hint=HINT)
    check_comparison(comparison, where)
    _check_gates(saved, where)
    _check_suite(saved, where)
    _check_figures(saved, where)
    if saved.verdict != verdict(comparison, saved.verdict_subject).text:
        raise DataError("the verdict does not follow from the scores", where=where, hint=HINT)
    check_votes(saved.votes, comparison, where)
    if saved.shown_seeds != shown_seeds(comparison, saved.verdict_subject):
        raise DataError("the shown seeds do not follow from the scores", where=where, hint=HINT)
    if set(saved.videos) != {row.name for row in comparison.rows}:
        raise DataError("the videos are not those of the compared clips", where=where, hint=HINT)
    for case, row in saved.videos.items():
        if list(row) != saved.columns:
            raise DataError(f"the videos of {case} are not {', '.join(saved.columns)}", where=where, hint=HINT)
        for path in row.values():
            if not VIDEO_PATH.fullmatch(path):
                raise DataError(f"a video outside the report's folder: {path}", where=where, hint=HINT)


def _check_gates(saved: "SavedReport", where: str) -> None:
    tested = saved.comparison.tested_candidates
    if list(saved.loaded) != tested:
        raise DataError("the candidates in `loaded` are not the tested candidates", where=where, hint=HINT)
    if saved.incumbent not in {None, *tested}:
        raise DataError("the incumbent is not a tested candidate", where=where, hint=HINT)
    if saved.gates != saved.policy.digest:
        what = f"the gates' policy has the digest {saved.policy.digest[:12]}, not {saved.gates[:12]}"
        raise DataError(what, where=where, hint=HINT)
    check_gate_results(saved.gate_results, saved.comparison, saved.policy, saved.loaded, saved.incumbent, where)


def _check_suite(saved: "SavedReport", where: str) -> None:
    """Raise DataError unless the suite's digest follows from rows and plan, and the seeds are the plan's."""
    rows, plan = saved.comparison.rows, saved.plan
    if saved.suite != (suite_digest(rows, plan) if plan else None):
        raise DataError("the suite's digest is not that of the clips and the plan", where=where, hint=HINT)
    for row in rows if plan else []:
        for name, seed_scores in row.seed_scores.items():
            if plan and tuple(seed_score.seed for seed_score in seed_scores) not in (plan.seeds, plan.seeds[:1]):
                what = f"{row.name}: the seeds of {name} are not those of the plan"
                raise DataError(what, where=where, hint=HINT)


def _check_figures(saved: "SavedReport", where: str) -> None:
    """Raise DataError unless each figure that follows from the comparison has the computed value."""
    known = comparison_figures(saved.comparison)
    for figure in saved.figures:
        if figure.name in known and (fault := find_difference(figure.value, known[figure.name], figure.name)):
            raise DataError(f"the figures contradict the scores: {fault}", where=where, hint=HINT)
