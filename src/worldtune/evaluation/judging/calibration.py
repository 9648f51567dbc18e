"""Calibration of a judge: its answers about real clips and about the same clips with synthetic corruptions.

Shape letters: T frames, H height, W width, C channels.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ConfigDict

from worldtune.core.progress import Progress, silent
from worldtune.evaluation.cases.case import Case, Frames, Video, video_from_frames
from worldtune.evaluation.judging.judge import Judge, JudgedVideo, answer_agreement
from worldtune.evaluation.judging.questions import ANOMALIES, PHYSICS
from worldtune.evaluation.judging.synthetic_corruptions import freeze, has_object, remove_object, reverse
from worldtune.evaluation.metrics.video_features import VideoFeatures

MAX_CLIPS = 6  # real clips, each with its corrupted copies
REAL = "real"


def shuffle(frames_THWC: Frames) -> Frames:
    """Shuffle all frames except the first."""
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
    """The accuracy of a judge on real and corrupted clips.

    `flagged_share` is the share of each kind of clip in which the judge sees an anomaly, which is wrong for "real".
    `accuracy` is the mean of the accuracies on real and on corrupted clips; a constant judge gets 0.5.
    `ranking_accuracy` is the share of `pairs` in which the real clip is rated higher for physics than its corrupted
    copy; a tie counts as a half.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    clips: dict[str, int]
    flagged_share: dict[str, float]
    accuracy: float | None
    ranking_accuracy: float | None
    pairs: int


@dataclass(frozen=True)
class JudgeRecord:
    """A judge's name, the counts of its answers by status and fault, its agreement with itself, and its calibration."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    repeats: int
    statuses: dict[str, int]
    faults: dict[str, int]
    answer_agreement: float | None
    calibration: Calibration


def calibrate(judge: Judge, cases: Sequence[Case], progress: Progress = silent) -> Calibration:
    """Ask the judge about a few real clips and their corrupted copies."""
    flags_by_kind: dict[str, list[float]] = {}
    marks: list[float] = []
    chosen = cases[:MAX_CLIPS]
    for done, case in enumerate(chosen, start=1):
        real_THWC = case.reference.read()
        real_mark = _ask_about(judge, case, REAL, case.reference, flags_by_kind)
        for kind, corrupt in CORRUPTIONS.items():
            if kind == "object removed" and not has_object(real_THWC):
                continue
            mark = _ask_about(judge, case, kind, video_from_frames(corrupt(real_THWC)), flags_by_kind)
            if real_mark is not None and mark is not None:
                marks.append(float(real_mark > mark) + 0.5 * float(real_mark == mark))
        progress(done, len(chosen))
    flagged = {kind: float(np.mean(flags_of_kind)) for kind, flags_of_kind in flags_by_kind.items()}
    flags = [flag for kind, flags_of_kind in flags_by_kind.items() if kind != REAL for flag in flags_of_kind]
    accuracy = None
    if REAL in flagged and flags:
        accuracy = (1 - flagged[REAL] + float(np.mean(flags))) / 2
    counts = {kind: len(flags_of_kind) for kind, flags_of_kind in flags_by_kind.items()}
    return Calibration(counts, flagged, accuracy, float(np.mean(marks)) if marks else None, len(marks))


def make_record(judge: Judge, calibration: Calibration) -> JudgeRecord:
    """Return the record of a judge for the report."""
    statuses: dict[str, int] = {}
    for answer in judge.answers:
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    faults = Counter(answer.fault for answer in judge.answers if answer.fault is not None)
    return JudgeRecord(judge.name, judge.repeats, statuses, dict(faults), answer_agreement(judge.answers), calibration)


def _ask_about(
    judge: Judge, case: Case, kind: str, video: Video, flags_by_kind: dict[str, list[float]]
) -> float | None:
    """Return the rating of physics. Append to `flags_by_kind` whether the judge sees an anomaly."""
    shown = JudgedVideo(f"calibration: {kind}", case.name, case.prompt, VideoFeatures(video))
    answers = [judge.ask(question, shown) for question in ANOMALIES]
    if all(answers):
        flags_by_kind.setdefault(kind, []).append(float(any(np.mean(values) > 0.5 for values in answers)))
    marks = judge.ask(PHYSICS, shown)
    return float(np.mean(marks)) if marks else None
