"""How far a judge can be trusted: its answers about real clips, and about the same clips with a fault planted.

Shape letters: T frames, H height, W width, C channels.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ConfigDict

from worldtune.evaluation.case import Case, Frames, Video, held
from worldtune.evaluation.judging.judge import Judge, Shown, agreement
from worldtune.evaluation.judging.questions import ANOMALIES, PHYSICS
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.planted import freeze, has_object, remove_object, reverse

CLIPS = 6  # real ones, each with its corrupted copies
REAL = "real"


def shuffle(frames_THWC: Frames) -> Frames:
    """The first frame stays, all others come in another order."""
    order = np.random.default_rng(0).permutation(len(frames_THWC) - 1) + 1
    return frames_THWC[[0, *order]]


CORRUPTIONS: Mapping[str, Callable[[Frames], Frames]] = {
    "time reversed": reverse,
    "object removed": remove_object,
    "frozen": freeze,
    "frames shuffled": shuffle,
}


@dataclass(frozen=True)
class Calibration:
    """What a judge says of videos whose truth is known.

    `called_wrong` is the share of each kind in which it sees an anomaly: right of the corrupted, wrong of "real".
    `accuracy` is the mean of both kinds' right answers, so that a judge who always says the same gets a half. `ranked`
    is the share of pairs in which the real clip gets the higher mark for physics than its corrupted copy, ties a half.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    clips: dict[str, int]
    called_wrong: dict[str, float]
    accuracy: float | None
    ranked: float | None
    pairs: int


@dataclass(frozen=True)
class JudgeRecord:
    """A judge's name, what became of its questions, how often it repeats itself, and how far it can be trusted."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    repeats: int
    fates: dict[str, int]
    faults: dict[str, int]
    agreement: float | None
    calibration: Calibration


def calibrate(
    judge: Judge, cases: Sequence[Case], on_clip: Callable[[int, int], None] = lambda done, total: None
) -> Calibration:
    """Ask the judge about a few real clips and their corrupted copies."""
    wrong: dict[str, list[float]] = {}
    marks: list[float] = []
    chosen = cases[:CLIPS]
    for done, case in enumerate(chosen, start=1):
        real_THWC = case.reference.read()
        of_real = _asked(judge, case, REAL, case.reference, wrong)
        for kind, corrupt in CORRUPTIONS.items():
            if kind == "object removed" and not has_object(real_THWC):
                continue
            mark = _asked(judge, case, kind, held(corrupt(real_THWC)), wrong)
            if of_real is not None and mark is not None:
                marks.append(float(of_real > mark) + 0.5 * float(of_real == mark))
        on_clip(done, len(chosen))
    called = {kind: float(np.mean(its)) for kind, its in wrong.items()}
    seen = [its for kind, each in wrong.items() if kind != REAL for its in each]
    accuracy = None
    if REAL in called and seen:
        accuracy = (1 - called[REAL] + float(np.mean(seen))) / 2
    counts = {kind: len(its) for kind, its in wrong.items()}
    return Calibration(counts, called, accuracy, float(np.mean(marks)) if marks else None, len(marks))


def record_of(judge: Judge, calibration: Calibration) -> JudgeRecord:
    """What a report says of a judge."""
    fates: dict[str, int] = {}
    for saying in judge.sayings:
        fates[saying.fate] = fates.get(saying.fate, 0) + 1
    faults = Counter(saying.fault for saying in judge.sayings if saying.fault is not None)
    return JudgeRecord(judge.name, judge.repeats, fates, dict(faults), agreement(judge.sayings), calibration)


def _asked(judge: Judge, case: Case, kind: str, video: Video, wrong: dict[str, list[float]]) -> float | None:
    """The mark for physics; whether an anomaly is seen goes to `wrong`."""
    shown = Shown(f"calibration: {kind}", case.name, case.prompt, Film(video))
    answers = [judge.ask(asked, shown) for asked in ANOMALIES]
    if all(answers):
        wrong.setdefault(kind, []).append(float(any(np.mean(its) > 0.5 for its in answers)))
    marks = judge.ask(PHYSICS, shown)
    return float(np.mean(marks)) if marks else None
