"""What should stand still and drifts.

Shape letters: T frames, H height, W width, C channels.
"""

import numpy as np
import numpy.typing as npt

from worldtune.evaluation.metrics.film import Film, once

STILL = 12  # levels: a pixel of the real video that never differs more from its first frame is background
ENOUGH = 0.1  # of the picture: with less of it the camera moves


@once
def background(reference: Film) -> npt.NDArray[np.bool_] | None:
    """(H, W): the pixels that stand still in the real video; None when the camera moves."""
    frames_THWC = reference.frames_THWC.astype(np.int16)
    still_HW = np.abs(frames_THWC - frames_THWC[:1]).max((0, 3)) <= STILL
    return still_HW if still_HW.mean() >= ENOUGH else None


def background_drift(film: Film, reference: Film) -> float | None:
    """How far the background lies from its first frame, in levels, averaged over the later half of the clip.

    None when the camera moves: then nothing should stand still.
    """
    still_HW = background(reference)
    if still_HW is None:
        return None
    pixels_TNC = film.frames_THWC[:, still_HW].astype(np.float32)
    later = pixels_TNC[len(pixels_TNC) // 2 :]
    return float(np.abs(later - pixels_TNC[:1]).mean())
