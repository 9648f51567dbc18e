"""What dense flow tells: whether a video flickers, and whether it moves as the real one does.

Pixels are those of the reduced frames. Shape letters: T frames, H height, W width, C channels; t = T-1 steps.
"""

import cv2
import numpy as np

from worldtune.evaluation.metrics.film import Film, Floats, once

CONSISTENT = 1.0  # pixels: a point that comes back farther from where it was is hidden, or was not followed
SMOOTH = 2.0  # pixels: σ of the flow's blur before two are compared
LEAST_FLOW = 0.3  # of the real video's: a video with less stands still
MOVES = 0.1  # pixels a step: less, as a root mean square over the clip, is no motion


@once
def warp_error(film: Film) -> float:
    """How far each frame lies from the one before when that is warped by the flow, in levels: root mean square.

    255 of a video of which no point can be followed.

    Only where forward and backward flow agree (Lai et al. 2018, "Learning blind video temporal consistency", §4.1).
    """
    T, H, W = film.small_THWC.shape[:3]
    y, x = np.mgrid[:H, :W].astype(np.float32)
    total, count = 0.0, 0
    for t in range(T - 1):
        back_HWC = film.back_tHWC[t]
        at_x, at_y = x + back_HWC[..., 0], y + back_HWC[..., 1]
        before_HWC = cv2.remap(film.small_THWC[t], at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        forth_HWC = cv2.remap(film.flow_tHWC[t], at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        seen_HW = np.square(back_HWC + forth_HWC).sum(-1) < CONSISTENT**2
        error_HWC = film.small_THWC[t + 1][seen_HW].astype(np.float32) - before_HWC[seen_HW]
        total, count = total + float(np.square(error_HWC).sum()), count + error_HWC.size
    return float(np.sqrt(total / count)) if count else 255.0


def flicker_ratio(film: Film, reference: Film) -> float:
    """The warp error over the real video's, neither counted below half a level: 1 is right, above it flickers."""
    return max(warp_error(film), 0.5) / max(warp_error(reference), 0.5)


def moves(film: Film, reference: Film) -> float | None:
    """1 where the flow is at least `LEAST_FLOW` of the real video's, root mean square, else 0: noise is no motion.

    None when the reference does not move.
    """
    mine, real = (float(np.sqrt(np.square(_smooth(each)).mean(dtype=np.float64))) for each in (film, reference))
    if real < MOVES:
        return None
    return float(mine >= LEAST_FLOW * real)


def motion_agreement(film: Film, reference: Film) -> float | None:
    """Cosine between both videos' flow over all pixels and steps: 1 moves alike, 0 not at all or elsewhere, −1 back.

    None when the reference does not move.
    """
    mine, real = _smooth(film), _smooth(reference)
    norms = float(np.linalg.norm(mine)), float(np.linalg.norm(real))
    least = MOVES * np.sqrt(mine.size / 2)
    if norms[1] < least:
        return None
    together = float(np.einsum("thwc,thwc->", mine, real, dtype=np.float64))
    return together / float(max(norms[0], least) * norms[1])


@once
def _smooth(film: Film) -> Floats:
    return np.stack([cv2.GaussianBlur(flow_HWC, (0, 0), SMOOTH) for flow_HWC in film.flow_tHWC])
