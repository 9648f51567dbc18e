"""Does a video look as real ones of its camera do? What can be measured without knowing what should be seen.

Real clips say what is usual of a camera; a video beyond that is flagged by what is unusual about it. Nothing is said of
whether the right thing happens: a wrong motion of a usual kind passes.

Shape letters: T frames, H height, W width, C channels; t = T-1 steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from worldtune.evaluation.metrics.film import Film, once
from worldtune.evaluation.metrics.flow import warp_error
from worldtune.evaluation.metrics.motion import motion_amount
from worldtune.evaluation.metrics.objects import LOST, MULTIPLIED, presence, regions
from worldtune.evaluation.metrics.sharpness import sharpness

ENOUGH = 8  # real clips of a camera, before anything is unusual
ROOM = 3.0  # times as far from the median as nine of ten real clips lie
LEAST = 0.1  # of the median, where real clips hardly differ


@dataclass(frozen=True)
class Usual:
    """The range of a measurement in which a camera's real clips lie, with some room."""

    low: float
    high: float


@once
def measured(film: Film) -> dict[str, float]:
    """By name, each in its own unit."""
    colours_TC = film.frames_THWC.mean((1, 2))
    steps_t = np.abs(np.diff(film.grey_THW.astype(np.int16), axis=0)).mean((1, 2))
    first, last = (cv2.Laplacian(film.grey_THW[t], cv2.CV_32F).var() for t in (0, -1))
    return {
        "sharpness": float(np.log2(1 + sharpness(film))),
        "sharpness kept": float(last / max(first, 1)),
        "motion": motion_amount(film.frames_THWC),
        "motion in the later half": float(steps_t[len(steps_t) // 2 :].mean()),
        "largest step": float(steps_t.max()),
        "flicker": warp_error(film),
        "colour drift": float(np.abs(colours_TC[-1] - colours_TC[0]).max()),
        "objects lost or doubled": _unsteady(film),
    }


def usual(real: Sequence[Mapping[str, float]]) -> dict[str, Usual]:
    """What is usual of some real clips of one camera; nothing where they are few."""
    if len(real) < ENOUGH:
        return {}
    found = {}
    for name in real[0]:
        low, middle, high = np.quantile([clip[name] for clip in real], [0.1, 0.5, 0.9]).tolist()
        least = LEAST * abs(middle) + 0.02
        found[name] = Usual(middle - ROOM * max(middle - low, least), middle + ROOM * max(high - middle, least))
    return found


def alarms(clip: Mapping[str, float], ranges: Mapping[str, Usual]) -> list[str]:
    """What is unusual about it."""
    return [
        f"{'little' if clip[name] < its.low else 'much'} {name}"
        for name, its in ranges.items()
        if not its.low <= clip[name] <= its.high
    ]


def _unsteady(film: Film) -> float:
    """Share of (object, frame) in which an object of the first frame is lost or there twice."""
    shares = [presence(film, region)[1:] for region in regions(film)]
    return float(np.mean([(share < LOST) | (share > MULTIPLIED) for share in shares])) if shares else 0.0
