"""How much a video moves relative to its reference. It detects frozen videos, which PSNR barely penalizes.

Shape letters: T frames, H height, W width, C channels.
"""

import numpy as np

from worldtune.evaluation.cases.case import Frames

MIN_MOTION = 0.05  # levels: below, nothing moves


def motion_amount(frames_THWC: Frames) -> float:
    """Return the mean absolute difference between neighboring frames, in levels of 0..255."""
    return float(np.abs(np.diff(frames_THWC.astype(np.int16), axis=0)).mean())


def motion_ratio(frames_THWC: Frames, reference_THWC: Frames) -> float | None:
    """Return the motion of the video over that of the reference: 1 is right, 0 is frozen, above 1 flickers.

    Return None if the reference hardly moves.
    """
    real = motion_amount(reference_THWC)
    return motion_amount(frames_THWC) / real if real >= MIN_MOTION else None
