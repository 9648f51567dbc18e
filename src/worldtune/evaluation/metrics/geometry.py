"""Do points move as a rigid scene's do? The Sampson error of matched points to an epipolar geometry fitted to them.

A fixed camera makes the fundamental matrix degenerate, and what moves breaks it, so that the number means nothing by
itself: it is given over the real video's of the same clip.

Shape letters: H height, W width, N points.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.evaluation.case import Frames
from worldtune.evaluation.metrics.film import Film, once

RATIO = 0.8  # Lowe 2004, §7.1
LEAST_MATCHES = 16  # twice what a fundamental matrix needs
LEAST_SIDE, PAIRS = 192, 5
FLOOR = 0.02  # pixels: the noise of a keypoint's place

Places = npt.NDArray[np.float64]
Pair = tuple[Frames, Frames]
"""Two grey pictures (H, W)."""


@dataclass(frozen=True)
class Sampson:
    """Medians over pairs of pictures: of the inliers' error in pixels, None where no pair has enough; of matches."""

    error_px: float | None
    matches: float
    inliers: float


@once
def movement(film: Film) -> Sampson:
    """Of neighbouring frames."""
    return sampson(steps(film.grey_THW))


def steps(grey_THW: Frames) -> list[Pair]:
    """Neighbouring frames, at most `PAIRS`, spread evenly over the clip."""
    last = len(grey_THW) - 2
    return [
        (grey_THW[t], grey_THW[t + 1]) for t in sorted({round(t) for t in np.linspace(0, last, min(PAIRS, last + 1))})
    ]


def sampson(pairs: Sequence[Pair]) -> Sampson:
    """SIFT, Lowe's ratio test, MAGSAC++ (Barath et al. 2020), and the median Sampson distance of its inliers."""
    found = list(_errors(pairs))
    errors = [error for error, _, _ in found if error is not None]
    matches, inliers = (float(np.median([each[k] for each in found])) if found else 0.0 for k in (1, 2))
    return Sampson(float(np.median(errors)) if errors else None, matches, inliers)


def sampson_ratio(mine: Sampson, real: Sampson) -> float | None:
    """The error over the real video's: 1 is right. None where either has too few matches."""
    if mine.error_px is None or real.error_px is None:
        return None
    return max(mine.error_px, FLOOR) / max(real.error_px, FLOOR)


def _errors(pairs: Sequence[Pair]) -> Iterator[tuple[float | None, int, int]]:
    for one_HW, other_HW in pairs:
        here_N2, there_N2 = _matched(one_HW, other_HW)
        if len(here_N2) < LEAST_MATCHES:
            yield None, len(here_N2), 0
            continue
        fitted = _fit(here_N2, there_N2)
        if fitted is None:
            yield None, len(here_N2), 0
            continue
        F, good_N = fitted
        yield float(np.median(sampson_distance(F, here_N2[good_N], there_N2[good_N]))), len(here_N2), int(good_N.sum())


def _fit(here_N2: Places, there_N2: Places) -> tuple[Places, npt.NDArray[np.bool_]] | None:
    """The fundamental matrix and which matches are its inliers; None where there is none."""
    cv2.setRNGSeed(0)
    try:
        F, inlier_N1 = cv2.findFundamentalMat(here_N2, there_N2, cv2.USAC_MAGSAC, 1.0, 0.999, 2000)
    except cv2.error:  # its estimator gives up on points of one line
        return None
    if F is None or F.shape != (3, 3) or inlier_N1 is None or inlier_N1.sum() < 8:
        return None
    return np.asarray(F, np.float64), np.asarray(inlier_N1.ravel(), np.bool_)


def sampson_distance(
    F: npt.NDArray[np.float64], here_N2: npt.NDArray[np.float64], there_N2: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(N,) in pixels: |x'ᵀFx| / √((Fx)₁² + (Fx)₂² + (Fᵀx')₁² + (Fᵀx')₂²) (Hartley & Zisserman 2004, eq. 11.9)."""
    ones_N1 = np.ones((len(here_N2), 1))
    x_N3, y_N3 = np.hstack([here_N2, ones_N1]), np.hstack([there_N2, ones_N1])
    Fx_N3, Fy_N3 = x_N3 @ F.T, y_N3 @ F
    scale_N = np.square(Fx_N3[:, :2]).sum(1) + np.square(Fy_N3[:, :2]).sum(1)
    return np.asarray(np.abs((y_N3 * Fx_N3).sum(1)) / np.sqrt(np.maximum(scale_N, 1e-12)))


def _matched(one_HW: Frames, other_HW: Frames) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Places (N, 2) in pixels of the pictures as they are."""
    scale = max(1, -(-LEAST_SIDE // min(one_HW.shape)))
    sift = cv2.SIFT.create()
    size = one_HW.shape[1] * scale, one_HW.shape[0] * scale
    found = [
        sift.detectAndCompute(cv2.resize(HW, size, interpolation=cv2.INTER_CUBIC), None) for HW in (one_HW, other_HW)
    ]
    (here, one_ND), (there, other_ND) = found
    if one_ND is None or other_ND is None or len(other_ND) < 2:
        return np.empty((0, 2)), np.empty((0, 2))
    near = cv2.BFMatcher().knnMatch(one_ND, other_ND, k=2)
    good = [first for first, second in near if first.distance < RATIO * second.distance]
    return (
        np.array([here[match.queryIdx].pt for match in good]).reshape(-1, 2) / scale,
        np.array([there[match.trainIdx].pt for match in good]).reshape(-1, 2) / scale,
    )
