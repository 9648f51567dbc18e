"""Score every candidate on every case and compare the candidates in pairs."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import psutil

from worldtune.core.progress import Progress, silent
from worldtune.errors import UserError
from worldtune.evaluation.cache.score_cache import ScoreCache
from worldtune.evaluation.candidates.baselines import frozen_video
from worldtune.evaluation.cases.case import CandidateVideos, Case, Video
from worldtune.evaluation.comparison.grouping import ComparisonSetup, build_comparison
from worldtune.evaluation.results import FROZEN, NEAREST, REFERENCE, CaseRow, Comparison
from worldtune.evaluation.scoring.metric_definitions import ACROSS_CASES, ACROSS_SEEDS, METRICS
from worldtune.evaluation.scoring.pixel_metrics import PixelScorer, Scorer
from worldtune.evaluation.scoring.score_case import Scoring, score_case

MEMORY_FACTOR = 16  # memory to score a video, in sizes of its frames
BASE = "base"
"""The name of the candidate that all others are compared with."""


def compare(
    cases: Sequence[Case],
    candidates: CandidateVideos,
    *,
    baselines: Sequence[str] = (NEAREST,),
    seeds: Sequence[int] = (0,),
    scorers: Sequence[Scorer] = (),
    not_run: Mapping[str, str] | None = None,
    score_cache: ScoreCache | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Compare `candidates` with the base and a frozen first frame by the metrics of `PixelScorer` and `scorers`.

    All candidates are also compared with each of `baselines`. The frozen control is made from each case's first frame.
    A case's scores are means over the `seeds`. Scores in `score_cache` are reused. `not_run` holds reasons for metrics
    without a scorer.

    Raise UserError if there is no case, two cases share a name, the base is absent, or a candidate lacks a case, has an
    unknown case or a wrong number of videos, or differs from a reference in shape.
    """
    _check_inputs(cases, candidates, BASE, seeds)
    order = [BASE, *(name for name in candidates if name != BASE), FROZEN]
    scoring = Scoring([PixelScorer(), *scorers], seeds, BASE, score_cache)
    rows = list(_score_cases(cases, candidates, order, scoring, progress))
    against = [BASE, *(name for name in baselines if name in order), FROZEN]
    run = {name for scorer in scoring.scorers for name in scorer.names} | (ACROSS_SEEDS if len(seeds) > 1 else set())
    run |= set(ACROSS_CASES) if "end_point_mm" in run else set()
    setting = ComparisonSetup(order, against, [name for name in METRICS if name in run])
    unknown = {name: (not_run or {}).get(name, "not requested") for name in METRICS if name not in run}
    return build_comparison(rows, setting, unknown)


def _score_cases(
    cases: Sequence[Case], candidates: CandidateVideos, order: Sequence[str], scoring: Scoring, progress: Progress
) -> Iterator[CaseRow]:
    def score_row(case: Case) -> CaseRow:
        videos: dict[str, Sequence[Video]] = {
            name: [frozen_video(case)] if name == FROZEN else candidates[name][case.name] for name in order
        }
        return score_case(case, videos, scoring)

    with _single_threaded_opencv(), ThreadPoolExecutor(_workers(cases[0])) as pool:
        try:
            for done, row in enumerate(pool.map(score_row, cases), start=1):
                progress(done, len(cases))
                yield row
        finally:
            pool.shutdown(cancel_futures=True)


def _workers(case: Case) -> int:
    """Return the number of cases to score at once: the number of cores, limited by free memory."""
    fitting = psutil.virtual_memory().available // (MEMORY_FACTOR * case.reference.read().nbytes)
    return int(max(1, min(os.cpu_count() or 1, fitting)))


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Disable OpenCV's own threads: cases are scored in parallel already."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _check_inputs(
    cases: Sequence[Case], candidates: CandidateVideos, reference_candidate: str, seeds: Sequence[int]
) -> None:
    if not cases:
        raise UserError("there is no case", where="cases", hint="Give at least one held-out clip.")
    counts = Counter(case.name for case in cases)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise UserError("cases share a name", where=repeated[0], hint="Give each case its own name.")
    if reference_candidate not in candidates:
        raise UserError(
            f"the candidate to compare with, {reference_candidate!r}, is absent",
            where=f"candidates: {', '.join(candidates) or 'none'}",
            hint="Generate its clips too, or name another reference candidate.",
        )
    for reserved in (FROZEN, REFERENCE):
        if reserved in candidates:
            raise UserError(
                f"the name {reserved!r} is reserved: the comparison adds it itself",
                where="candidates",
                hint="Rename or remove this candidate.",
            )
    for candidate, clips in candidates.items():
        _check_videos(cases, candidate, clips, seeds)


def _check_videos(
    cases: Sequence[Case], candidate: str, clips: Mapping[str, Sequence[Video]], seeds: Sequence[int]
) -> None:
    names = {case.name for case in cases}
    if missing := [case.name for case in cases if case.name not in clips]:
        raise UserError(
            f"{candidate} lacks {len(missing)} of {len(cases)} cases",
            where=missing[0],
            hint="Generate the missing videos: every candidate is scored on the same clips.",
        )
    if unknown := [name for name in clips if name not in names]:
        raise UserError(
            f"{candidate} has {len(unknown)} videos without a case",
            where=unknown[0],
            hint="Remove them, or add their cases.",
        )
    for case, videos in clips.items():
        if len(videos) not in (1, len(seeds)):
            raise UserError(
                f"{candidate} has {len(videos)} videos for {len(seeds)} seeds",
                where=f"case {case}",
                hint="Give one video for each seed, or one for all seeds.",
            )
