"""Geometric consistency: the Sampson error of matched points to an epipolar geometry fitted to them.

The error alone means nothing: a fixed camera makes the fundamental matrix degenerate, and moving objects violate it.
It is therefore divided by that of the real video of the same clip.

Shape letters: H height, W width, N points.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.evaluation.cases.case import Frames
from worldtune.evaluation.metrics.video_features import VideoFeatures, compute_once

LOWE_RATIO = 0.8  # Lowe 2004, §7.1
MIN_MATCHES = 16  # twice what a fundamental matrix needs
MIN_SIDE, MAX_PAIRS = 192, 5
MIN_ERROR_PX = 0.02  # pixels: the noise of a keypoint's position

Points = npt.NDArray[np.float64]
Pair = tuple[Frames, Frames]
"""Two gray pictures (H, W)."""


@dataclass(frozen=True)
class Sampson:
    """Medians over pairs of pictures: the inliers' error in pixels (None if no pair has enough), matches, inliers."""

    error_px: float | None
    matches: float
    inliers: float


@compute_once
def measure_neighbor_frames(features: VideoFeatures) -> Sampson:
    """Measure the Sampson error between neighboring frames."""
    return measure_sampson(neighbor_pairs(features.gray_THW))


def neighbor_pairs(gray_THW: Frames) -> list[Pair]:
    """Return pairs of neighboring frames, at most `MAX_PAIRS`, spread evenly over the clip."""
    last = len(gray_THW) - 2
    return [
        (gray_THW[t], gray_THW[t + 1])
        for t in sorted({round(t) for t in np.linspace(0, last, min(MAX_PAIRS, last + 1))})
    ]


def measure_sampson(pairs: Sequence[Pair]) -> Sampson:
    """Measure pairs by SIFT, Lowe's ratio test, MAGSAC++ (Barath et al. 2020), and its inliers' Sampson distance."""
    found = list(_pair_errors(pairs))
    errors = [error for error, _, _ in found if error is not None]
    matches, inliers = (float(np.median([pair_error[k] for pair_error in found])) if found else 0.0 for k in (1, 2))
    return Sampson(float(np.median(errors)) if errors else None, matches, inliers)


def sampson_ratio(own: Sampson, real: Sampson) -> float | None:
    """Return the error over the real video's: 1 is right. Return None if either has too few matches."""
    if own.error_px is None or real.error_px is None:
        return None
    return max(own.error_px, MIN_ERROR_PX) / max(real.error_px, MIN_ERROR_PX)


def _pair_errors(pairs: Sequence[Pair]) -> Iterator[tuple[float | None, int, int]]:
    for first_HW, second_HW in pairs:
        here_N2, there_N2 = _match_points(first_HW, second_HW)
        if len(here_N2) < MIN_MATCHES:
            yield None, len(here_N2), 0
            continue
        fitted = _fit_fundamental(here_N2, there_N2)
        if fitted is None:
            yield None, len(here_N2), 0
            continue
        F, good_N = fitted
        yield float(np.median(sampson_distance(F, here_N2[good_N], there_N2[good_N]))), len(here_N2), int(good_N.sum())


def _fit_fundamental(here_N2: Points, there_N2: Points) -> tuple[Points, npt.NDArray[np.bool_]] | None:
    """Return the fundamental matrix and the mask of its inliers; None if none can be fitted."""
    cv2.setRNGSeed(0)
    try:
        F, inlier_N1 = cv2.findFundamentalMat(here_N2, there_N2, cv2.USAC_MAGSAC, 1.0, 0.999, 2000)
    except cv2.error:  # the estimator fails on points of one line
        return None
    if F is None or F.shape != (3, 3) or inlier_N1 is None or inlier_N1.sum() < 8:
        return None
    return np.asarray(F, np.float64), np.asarray(inlier_N1.ravel(), np.bool_)


def sampson_distance(
    F: npt.NDArray[np.float64], here_N2: npt.NDArray[np.float64], there_N2: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the Sampson distance of each match, (N,), in pixels.

    |x'ᵀFx| / √((Fx)₁² + (Fx)₂² + (Fᵀx')₁² + (Fᵀx')₂²) (Hartley & Zisserman 2004, eq. 11.9).
    """
    ones_N1 = np.ones((len(here_N2), 1))
    x_N3, y_N3 = np.hstack([here_N2, ones_N1]), np.hstack([there_N2, ones_N1])
    Fx_N3, Fy_N3 = x_N3 @ F.T, y_N3 @ F
    scale_N = np.square(Fx_N3[:, :2]).sum(1) + np.square(Fy_N3[:, :2]).sum(1)
    return np.asarray(np.abs((y_N3 * Fx_N3).sum(1)) / np.sqrt(np.maximum(scale_N, 1e-12)))


def _match_points(first_HW: Frames, second_HW: Frames) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the positions (N, 2) of matched points in both pictures, in pixels at the original size."""
    scale = max(1, -(-MIN_SIDE // min(first_HW.shape)))
    sift = cv2.SIFT.create()
    size = first_HW.shape[1] * scale, first_HW.shape[0] * scale
    (here, here_ND), (there, there_ND) = (
        sift.detectAndCompute(cv2.resize(HW, size, interpolation=cv2.INTER_CUBIC), None) for HW in (first_HW, second_HW)
    )
    if here_ND is None or there_ND is None or len(there_ND) < 2:
        return np.empty((0, 2)), np.empty((0, 2))
    near = cv2.BFMatcher().knnMatch(here_ND, there_ND, k=2)
    good = [best for best, second in near if best.distance < LOWE_RATIO * second.distance]
    return (
        np.array([here[match.queryIdx].pt for match in good]).reshape(-1, 2) / scale,
        np.array([there[match.trainIdx].pt for match in good]).reshape(-1, 2) / scale,
    )
