"""Does a report agree with itself? Everything in it that follows from its scores is computed again."""

import re
from typing import TYPE_CHECKING

from worldtune.errors import DataError
from worldtune.evaluation.comparison import CONTROLS, REFERENCE, Comparison
from worldtune.evaluation.recompute import check_comparison, check_rulings, difference
from worldtune.evaluation.report.compared_figures import compared_figures
from worldtune.evaluation.report.verdict import verdict
from worldtune.evaluation.report.votes import refuse_strange
from worldtune.evaluation.sampling_plan import suite_digest

if TYPE_CHECKING:
    from worldtune.evaluation.report.saved_report import SavedReport

VIDEO_PATH = re.compile(r"videos/[a-z0-9][a-z0-9.-]*\.mp4")
MEND = "Run the evaluation again."


def shown_seeds(comparison: Comparison, subject: str) -> dict[str, int]:
    """By case, the seed of the videos that are shown: of that in which the subject does worst beside the base."""
    base = comparison.reference_candidate
    return {row.name: row.takes[subject][row.worst_take(subject, base)].seed for row in comparison.rows}


def check_agreement(saved: "SavedReport", where: str) -> None:
    """Raise DataError where a report contradicts its scores, its policy, its plan or the videos that it names."""
    comparison = saved.comparison
    generated = [name for name in comparison.candidates if name not in CONTROLS]
    if saved.columns != [REFERENCE, *generated]:
        raise DataError("the columns are not the compared candidates", where=where, mend=MEND)
    if saved.verdict_subject not in set(generated) - {comparison.reference_candidate}:
        raise DataError(f"the subject {saved.verdict_subject!r} was not compared", where=where, mend=MEND)
    scored = [list(row.scores) for row in comparison.rows]
    judged = [list(group.results) for group in (comparison.headline, *comparison.domains)]
    if any(names != comparison.candidates for names in (*scored, *judged)):
        raise DataError("a clip or a group lacks a candidate", where=where, mend=MEND)
    check_comparison(comparison, where)
    _check_gates(saved, where)
    _check_suite(saved, where)
    _check_figures(saved, where)
    if saved.verdict != verdict(comparison, saved.verdict_subject).text:
        raise DataError("the verdict is not what the scores say", where=where, mend=MEND)
    refuse_strange(saved.votes, comparison, where)
    if saved.shown_seeds != shown_seeds(comparison, saved.verdict_subject):
        raise DataError("the seeds shown are not those of the compared clips", where=where, mend=MEND)
    if set(saved.videos) != {row.name for row in comparison.rows}:
        raise DataError("the videos are not those of the compared clips", where=where, mend=MEND)
    for case, row in saved.videos.items():
        if list(row) != saved.columns:
            raise DataError(f"the videos of {case} are not {', '.join(saved.columns)}", where=where, mend=MEND)
        for path in row.values():
            if not VIDEO_PATH.fullmatch(path):
                raise DataError(f"a video outside the report's folder: {path}", where=where, mend=MEND)


def _check_gates(saved: "SavedReport", where: str) -> None:
    judged = saved.comparison.judged
    if list(saved.loaded) != judged or saved.incumbent not in {None, *judged}:
        raise DataError("what was loaded, or the incumbent, is of what was not compared", where=where, mend=MEND)
    if saved.gates != saved.policy.digest:
        what = f"the gates' policy has the digest {saved.policy.digest[:12]}, not {saved.gates[:12]}"
        raise DataError(what, where=where, mend=MEND)
    check_rulings(saved.rulings, saved.comparison, saved.policy, saved.loaded, saved.incumbent, where)


def _check_suite(saved: "SavedReport", where: str) -> None:
    """The suite's digest is that of the rows and the plan, and the takes are of the plan's seeds."""
    rows, plan = saved.comparison.rows, saved.plan
    if saved.suite != (suite_digest(rows, plan) if plan else None):
        raise DataError("the suite's digest is not that of the clips and the plan", where=where, mend=MEND)
    for row in rows if plan else []:
        for name, takes in row.takes.items():
            if plan and tuple(take.seed for take in takes) not in (plan.seeds, plan.seeds[:1]):
                what = f"{row.name}: the seeds of {name} are not those of the plan"
                raise DataError(what, where=where, mend=MEND)


def _check_figures(saved: "SavedReport", where: str) -> None:
    """A figure that follows from the comparison has the value that the comparison gives it."""
    known = compared_figures(saved.comparison)
    for figure in saved.figures:
        if figure.name in known and (fault := difference(figure.value, known[figure.name], figure.name)):
            raise DataError(f"the figures contradict the scores: {fault}", where=where, mend=MEND)
