"""Anomaly detection: measurements of a video that lie outside the range of real clips of the same camera.

No reference is needed. The check does not see whether the right thing happens: a wrong but ordinary motion passes.

Shape letters: T frames, H height, W width, C channels; t = T-1 steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from worldtune.evaluation.metrics.flow import warp_error
from worldtune.evaluation.metrics.motion import motion_amount
from worldtune.evaluation.metrics.objects import DUPLICATED, LOST, presence, regions
from worldtune.evaluation.metrics.sharpness import sharpness
from worldtune.evaluation.metrics.video_features import VideoFeatures, compute_once

MIN_CLIPS = 8  # smallest number of real clips that define a camera's normal range
RANGE_FACTOR = 3.0  # the range reaches this many times as far from the median as the 10 % and 90 % quantiles
MIN_SPREAD = 0.1  # smallest distance of a quantile, as a share of the median, for real clips that hardly differ


@dataclass(frozen=True)
class NormalRange:
    """The range of a measurement over a camera's real clips, with a margin."""

    low: float
    high: float


@compute_once
def measure_statistics(features: VideoFeatures) -> dict[str, float]:
    """Return the measurements of a video by name, each in its own unit."""
    colors_TC = features.frames_THWC.mean((1, 2))
    steps_t = np.abs(np.diff(features.gray_THW.astype(np.int16), axis=0)).mean((1, 2))
    first, last = (cv2.Laplacian(features.gray_THW[t], cv2.CV_32F).var() for t in (0, -1))
    return {
        "sharpness": float(np.log2(1 + sharpness(features))),
        "sharpness at the end": float(last / max(first, 1)),
        "motion": motion_amount(features.frames_THWC),
        "motion in the later half": float(steps_t[len(steps_t) // 2 :].mean()),
        "largest step": float(steps_t.max()),
        "flicker": warp_error(features),
        "color drift": float(np.abs(colors_TC[-1] - colors_TC[0]).max()),
        "objects lost or doubled": _unstable_object_share(features),
    }


def fit_normal_ranges(real: Sequence[Mapping[str, float]]) -> dict[str, NormalRange]:
    """Return the normal range of each measurement over real clips of one camera; empty for fewer than `MIN_CLIPS`."""
    if len(real) < MIN_CLIPS:
        return {}
    found = {}
    for name in real[0]:
        low, middle, high = np.quantile([clip[name] for clip in real], [0.1, 0.5, 0.9]).tolist()
        least = MIN_SPREAD * abs(middle) + 0.02
        found[name] = NormalRange(
            middle - RANGE_FACTOR * max(middle - low, least), middle + RANGE_FACTOR * max(high - middle, least)
        )
    return found


def find_anomalies(clip: Mapping[str, float], ranges: Mapping[str, NormalRange]) -> list[str]:
    """Return a phrase for each measurement outside its normal range."""
    return [
        f"{'little' if clip[name] < normal.low else 'much'} {name}"
        for name, normal in ranges.items()
        if not normal.low <= clip[name] <= normal.high
    ]


def _unstable_object_share(features: VideoFeatures) -> float:
    """Return the share of (object, frame) in which an object of the first frame is lost or duplicated."""
    shares = [presence(features, region)[1:] for region in regions(features)]
    return float(np.mean([(share < LOST) | (share > DUPLICATED) for share in shares])) if shares else 0.0
