"""Score every candidate on every case and compare them pair by pair.

Shape letters: T frames, H height, W width, C channels.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from worldtune.errors import UserError
from worldtune.evaluation.case import BASE_DOMAIN, Case, Frames, check_frames
from worldtune.evaluation.comparison import FROZEN, REFERENCE, CandidateResult, CaseRow, Comparison, Group
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.metrics.fidelity import PEAK, psnr_from_mse
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.scoring import Real, score
from worldtune.statistics import Paired, estimate, paired

Values = Mapping[str, Sequence[float | None]]
Candidates = Mapping[str, Mapping[str, Frames]]


def compare(cases: Sequence[Case], candidates: Candidates, reference_candidate: str = "base") -> Comparison:
    """Compare `candidates` (name → case name → uint8 frames_THWC) with the base and with a frozen first frame.

    The frozen control is made here from each case's first frame. Raises UserError when there is no case, a
    case's name is used twice, the reference candidate is absent, or a candidate lacks a case, holds a case of
    another evaluation, or differs from a reference in shape.
    """
    _refuse_unfit(cases, candidates, reference_candidate)
    order = [reference_candidate, *(name for name in candidates if name != reference_candidate), FROZEN]
    rows = [_row(case, candidates, order) for case in cases]
    headline = [row for row in rows if row.domain != BASE_DOMAIN] or rows

    def groups(of: Sequence[CaseRow], key: Callable[[CaseRow], str]) -> list[Group]:
        names = dict.fromkeys(map(key, of))
        return [_group(name, [r for r in of if key(r) == name], order, reference_candidate) for name in names]

    return Comparison(
        reference_candidate=reference_candidate,
        candidates=order,
        rows=rows,
        headline=_group(", ".join(dict.fromkeys(r.domain for r in headline)), headline, order, reference_candidate),
        domains=groups(rows, lambda row: row.domain),
        tasks=groups(headline, lambda row: row.task),
        cameras=groups(headline, lambda row: row.camera),
    )


def frozen(case: Case) -> Frames:
    """The first frame of the reference, held for its whole length: (T, H, W, C)."""
    return np.broadcast_to(case.reference_THWC[:1], case.reference_THWC.shape)


def _row(case: Case, candidates: Candidates, order: Sequence[str]) -> CaseRow:
    frames, height, width, _ = case.reference_THWC.shape
    clips = {name: frozen(case) if name == FROZEN else candidates[name][case.name] for name in order}
    real = Real(Film(case.reference_THWC))
    scores = {name: score(clip_THWC, real) for name, clip_THWC in clips.items()}
    asked = (case.name, case.episode, case.task, case.camera, case.domain, case.prompt)
    return CaseRow(*asked, frames, height, width, scores)


def _group(name: str, rows: Sequence[CaseRow], order: Sequence[str], reference_candidate: str) -> Group:
    values = {
        candidate: {metric: [row.scores[candidate].values[metric] for row in rows] for metric in MEASURES}
        for candidate in order
    }
    episodes = [row.episode for row in rows]
    results = {
        candidate: CandidateResult(
            means={metric: estimate(values[candidate][metric], episodes) for metric in MEASURES},
            against={
                rival: _against(values[candidate], values[rival], episodes)
                for rival in (reference_candidate, FROZEN)
                if rival != candidate
            },
        )
        for candidate in order
    }
    horizon = {
        curve: {name: _horizon(curve, [row.scores[name].curves[curve] for row in rows]) for name in order}
        for curve in rows[0].scores[order[0]].curves
    }
    return Group(name, [row.name for row in rows], results, horizon)


def _against(mine: Values, rival: Values, episodes: Sequence[str]) -> dict[str, Paired]:
    """How much better one candidate is than another, by metric; what is only shown is left out."""
    judged = {metric: measure.goodness for metric, measure in MEASURES.items() if measure.better != "shown"}
    return {
        metric: paired(list(map(good, mine[metric])), list(map(good, rival[metric])), episodes)
        for metric, good in judged.items()
    }


def _horizon(curve: str, clips: Sequence[Sequence[float]]) -> list[float]:
    """The mean at each frame 1..T-1 over the clips that reach it; of PSNR, that of the squared error."""
    length = max(map(len, clips))
    reached = [[clip[t] for clip in clips if t < len(clip)] for t in range(length)]
    if curve != "psnr_db":
        return [float(np.mean(at_frame)) for at_frame in reached]
    return [psnr_from_mse(float(np.mean([PEAK**2 / 10 ** (db / 10) for db in at_frame]))) for at_frame in reached]


def _refuse_unfit(cases: Sequence[Case], candidates: Candidates, reference_candidate: str) -> None:
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
        _refuse_unfit_clips(cases, candidate, clips)


def _refuse_unfit_clips(cases: Sequence[Case], candidate: str, clips: Mapping[str, Frames]) -> None:
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
    for case in cases:
        where = f"case {case.name}, candidate {candidate}"
        check_frames(clips[case.name], where=where)
        if clips[case.name].shape != case.reference_THWC.shape:
            raise UserError(
                f"shape {clips[case.name].shape} differs from the reference's {case.reference_THWC.shape}",
                where=where,
                mend="Generate with the frames, height and width of the held-out clip.",
            )
