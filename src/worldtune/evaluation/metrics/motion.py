"""How much a video moves, beside its reference: catches the frozen video that PSNR forgives.

Shape letters: T frames, H height, W width, C channels.
"""

import numpy as np

from worldtune.evaluation.case import Frames

LEAST = 0.05  # levels: less is no motion


def motion_amount(frames_THWC: Frames) -> float:
    """Mean absolute difference between neighbouring frames, in levels of 0..255."""
    return float(np.abs(np.diff(frames_THWC.astype(np.int16), axis=0)).mean())


def motion_ratio(frames_THWC: Frames, reference_THWC: Frames) -> float | None:
    """Motion of the video over motion of the reference: 1 is right, 0 is frozen, above 1 flickers.

    None when the reference hardly moves.
    """
    real = motion_amount(reference_THWC)
    return motion_amount(frames_THWC) / real if real >= LEAST else None
