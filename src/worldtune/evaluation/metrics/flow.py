"""Metrics of dense flow: whether a video flickers, and whether it moves like the real one.

Pixels are those of the reduced frames. Shape letters: T frames, H height, W width, C channels; t = T-1 steps.
"""

import cv2
import numpy as np

from worldtune.evaluation.metrics.video_features import Floats, VideoFeatures, compute_once

MAX_CYCLE_ERROR = 1.0  # pixels between a point and its forward-backward image; above, it is occluded or lost
FLOW_SIGMA = 2.0  # pixels: σ of the blur of both flows before they are compared
MIN_FLOW_RATIO = 0.3  # of the real video's flow: a video with less stands still
MIN_FLOW = 0.1  # pixels per step, root mean square over the clip: less is no motion


@compute_once
def warp_error(features: VideoFeatures) -> float:
    """Return the root mean square difference, in levels, of each frame to the previous frame warped by the flow.

    Only pixels where forward and backward flow agree count (Lai et al. 2018, "Learning blind video temporal
    consistency", §4.1). Return 255 if there are none.
    """
    T, H, W = features.small_THWC.shape[:3]
    y, x = np.mgrid[:H, :W].astype(np.float32)
    total, count = 0.0, 0
    for t in range(T - 1):
        back_HWC = features.back_tHWC[t]
        at_x, at_y = x + back_HWC[..., 0], y + back_HWC[..., 1]
        before_HWC = cv2.remap(features.small_THWC[t], at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        forth_HWC = cv2.remap(features.flow_tHWC[t], at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        seen_HW = np.square(back_HWC + forth_HWC).sum(-1) < MAX_CYCLE_ERROR**2
        error_HWC = features.small_THWC[t + 1][seen_HW].astype(np.float32) - before_HWC[seen_HW]
        total, count = total + float(np.square(error_HWC).sum()), count + error_HWC.size
    return float(np.sqrt(total / count)) if count else 255.0


def flicker_ratio(features: VideoFeatures, reference: VideoFeatures) -> float:
    """Return the warp error over the real video's, each at least half a level: 1 is right, higher flickers."""
    return max(warp_error(features), 0.5) / max(warp_error(reference), 0.5)


def flow_speed(features: VideoFeatures) -> float:
    """Return the root mean square of the blurred flow, in pixels a step: noise hardly counts as motion."""
    return float(np.sqrt(np.square(_smooth_flow(features)).mean(dtype=np.float64)))


def has_motion(features: VideoFeatures, reference: VideoFeatures) -> float | None:
    """Return 1 if the root mean square flow is at least `MIN_FLOW_RATIO` of the real video's, else 0.

    Noise does not count as motion. Return None if the reference does not move.
    """
    own, real = flow_speed(features), flow_speed(reference)
    if real < MIN_FLOW:
        return None
    return float(own >= MIN_FLOW_RATIO * real)


def flow_agreement(features: VideoFeatures, reference: VideoFeatures) -> float | None:
    """Return the cosine between the flows of both videos over all pixels and steps.

    1 is the same motion, 0 none or an unrelated one, −1 the opposite. Return None if the reference does not move.
    """
    own, real = _smooth_flow(features), _smooth_flow(reference)
    norms = float(np.linalg.norm(own)), float(np.linalg.norm(real))
    min_norm = MIN_FLOW * np.sqrt(own.size / 2)
    if norms[1] < min_norm:
        return None
    dot = float(np.einsum("thwc,thwc->", own, real, dtype=np.float64))
    return dot / float(max(norms[0], min_norm) * norms[1])


@compute_once
def _smooth_flow(features: VideoFeatures) -> Floats:
    return np.stack([cv2.GaussianBlur(flow_HWC, (0, 0), FLOW_SIGMA) for flow_HWC in features.flow_tHWC])
