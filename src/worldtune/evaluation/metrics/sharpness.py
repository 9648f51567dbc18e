"""Is it as sharp as the real video?

Shape letters: T frames, H height, W width.
"""

import cv2
import numpy as np

from worldtune.evaluation.metrics.film import Film, once


@once
def sharpness(film: Film) -> float:
    """Variance of the Laplacian of the luma, median over frames 1..T-1 (Pech-Pacheco et al. 2000)."""
    return float(np.median([cv2.Laplacian(grey_HW, cv2.CV_32F).var() for grey_HW in film.grey_THW[1:]]))


def sharpness_ratio(film: Film, reference: Film) -> float | None:
    """Over that of the real video: 1 is right, below it is blurred, above it is noisy. None of an even picture."""
    real = sharpness(reference)
    return sharpness(film) / real if real > 0 else None
