"""Drift of the background, which should stand still.

Shape letters: T frames, H height, W width, C channels.
"""

import numpy as np
import numpy.typing as npt

from worldtune.evaluation.metrics.video_features import VideoFeatures, compute_once

MAX_CHANGE = 12  # levels: a background pixel of the real video never differs more from its first frame
MIN_STILL_SHARE = 0.1  # smallest share of background pixels: with fewer, the camera moves


@compute_once
def still_pixels(reference: VideoFeatures) -> npt.NDArray[np.bool_] | None:
    """Return the mask (H, W) of pixels that stand still in the real video; None if the camera moves."""
    frames_THWC = reference.frames_THWC.astype(np.int16)
    still_HW = np.abs(frames_THWC - frames_THWC[:1]).max((0, 3)) <= MAX_CHANGE
    return still_HW if still_HW.mean() >= MIN_STILL_SHARE else None


def background_drift(features: VideoFeatures, reference: VideoFeatures) -> float | None:
    """Return the background's mean difference from its first frame over the second half of the clip, in levels.

    Return None if the camera moves.
    """
    still_HW = still_pixels(reference)
    if still_HW is None:
        return None
    pixels_TNC = features.frames_THWC[:, still_HW].astype(np.float32)
    later = pixels_TNC[len(pixels_TNC) // 2 :]
    return float(np.abs(later - pixels_TNC[:1]).mean())
