"""Score every candidate on every case and compare them pair by pair."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import psutil

from worldtune.errors import UserError
from worldtune.evaluation.case import Candidates, Case, Video
from worldtune.evaluation.comparison import FROZEN, NEAREST, REFERENCE, CaseRow, Comparison
from worldtune.evaluation.controls import frozen
from worldtune.evaluation.grouping import Setting, comparison_of
from worldtune.evaluation.kept import KeptScores
from worldtune.evaluation.measures import ACROSS, MEASURES
from worldtune.evaluation.scoring import Plain, Scorer
from worldtune.evaluation.takes import Bench, measure

IN_MEMORY = 16  # times a video's frames, while it is measured beside the real one
OnCase = Callable[[int, int], None]


def compare(
    cases: Sequence[Case],
    candidates: Candidates,
    reference_candidate: str = "base",
    *,
    rivals: Sequence[str] = (NEAREST,),
    seeds: Sequence[int] = (0,),
    scorers: Sequence[Scorer] = (),
    not_run: Mapping[str, str] | None = None,
    kept: KeptScores | None = None,
    on_case: OnCase = lambda done, total: None,
) -> Comparison:
    """Compare `candidates` with the base and with a frozen first frame, by `Plain` metrics and those of `scorers`.

    `rivals` are held against every other, besides these two. The frozen control is made here from each case's first
    frame. A case's scores are means over the `seeds`. What is `kept` is not measured again. `not_run` are reasons for
    metrics that no scorer gives. Raises UserError when there is no case, a case's name is used twice, the reference
    candidate is absent, or a candidate lacks a case, holds a case of another evaluation or a wrong number of videos,
    or differs from a reference in shape.
    """
    _refuse_unfit(cases, candidates, reference_candidate, seeds)
    order = [reference_candidate, *(name for name in candidates if name != reference_candidate), FROZEN]
    bench = Bench([Plain(), *scorers], seeds, reference_candidate, kept)
    rows = list(_measured(cases, candidates, order, bench, on_case))
    against = [reference_candidate, *(name for name in rivals if name in order), FROZEN]
    run = {name for scorer in bench.scorers for name in scorer.names} | (ACROSS if len(seeds) > 1 else set())
    setting = Setting(order, against, [name for name in MEASURES if name in run])
    unknown = {name: (not_run or {}).get(name, "not asked for") for name in MEASURES if name not in run}
    return comparison_of(rows, setting, unknown)


def _measured(
    cases: Sequence[Case], candidates: Candidates, order: Sequence[str], bench: Bench, on_case: OnCase
) -> Iterator[CaseRow]:
    def row_of(case: Case) -> CaseRow:
        videos: dict[str, Sequence[Video]] = {
            name: [frozen(case)] if name == FROZEN else candidates[name][case.name] for name in order
        }
        return measure(case, videos, bench)

    with _one_thread_each(), ThreadPoolExecutor(_workers(cases[0])) as pool:
        try:
            for done, row in enumerate(pool.map(row_of, cases), start=1):
                on_case(done, len(cases))
                yield row
        finally:
            pool.shutdown(cancel_futures=True)


def _workers(case: Case) -> int:
    """How many cases are measured at once: as many as there are cores and the free memory has room for."""
    room = psutil.virtual_memory().available // (IN_MEMORY * case.reference.read().nbytes)
    return int(max(1, min(os.cpu_count() or 1, room)))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Cases are measured side by side: OpenCV's own threads would only stand in each other's way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _refuse_unfit(
    cases: Sequence[Case], candidates: Candidates, reference_candidate: str, seeds: Sequence[int]
) -> None:
    if not cases:
        raise UserError("there is no case to judge on", where="cases", mend="Give at least one held-out clip.")
    counts = Counter(case.name for case in cases)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UserError("cases share a name", where=twice[0], mend="Give each case its own name.")
    if reference_candidate not in candidates:
        raise UserError(
            f"the candidate to compare with, {reference_candidate!r}, is absent",
            where=f"candidates: {', '.join(candidates) or 'none'}",
            mend="Generate its clips too, or name another reference candidate.",
        )
    for taken in (FROZEN, REFERENCE):
        if taken in candidates:
            raise UserError(
                f"the name {taken!r} is taken: the comparison adds it itself", where="candidates", mend="Leave it out."
            )
    for candidate, clips in candidates.items():
        _refuse_unfit_clips(cases, candidate, clips, seeds)


def _refuse_unfit_clips(
    cases: Sequence[Case], candidate: str, clips: Mapping[str, Sequence[Video]], seeds: Sequence[int]
) -> None:
    names = {case.name for case in cases}
    if lacking := [case.name for case in cases if case.name not in clips]:
        raise UserError(
            f"{candidate} lacks {len(lacking)} of {len(cases)} cases",
            where=lacking[0],
            mend="Every candidate must be judged on the same clips: generate what is missing.",
        )
    if strange := [name for name in clips if name not in names]:
        raise UserError(
            f"{candidate} holds {len(strange)} clips that are no case",
            where=strange[0],
            mend="Leave them out, or add their references.",
        )
    for case, videos in clips.items():
        if len(videos) not in (1, len(seeds)):
            raise UserError(
                f"{candidate} has {len(videos)} videos of it for {len(seeds)} seeds",
                where=f"case {case}",
                mend="Give one for each seed, or a single one for all of them.",
            )
