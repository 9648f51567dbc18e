"""Sharpness of a video relative to the real one.

Shape letters: T frames, H height, W width.
"""

import cv2
import numpy as np

from worldtune.evaluation.metrics.video_features import VideoFeatures, compute_once


@compute_once
def sharpness(features: VideoFeatures) -> float:
    """Return the variance of the Laplacian of the luma, median over frames 1..T-1 (Pech-Pacheco et al. 2000)."""
    return float(np.median([cv2.Laplacian(gray_HW, cv2.CV_32F).var() for gray_HW in features.gray_THW[1:]]))


def sharpness_ratio(features: VideoFeatures, reference: VideoFeatures) -> float | None:
    """Return sharpness over that of the real video: 1 is right, lower is blurred, higher is noisy.

    Return None if the real video is uniform.
    """
    real = sharpness(reference)
    return sharpness(features) / real if real > 0 else None
