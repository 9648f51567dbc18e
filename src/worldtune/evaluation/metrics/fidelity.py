"""Pixel-wise similarity to the reference: PSNR, SSIM, and PSNR of the moving region.

Frame 0 is the input of image2world, so only frames 1..T-1 are scored.
Shape letters: T frames, H height, W width, C channels; t = T-1 scored frames.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.evaluation.cases.case import Frames

Floats = npt.NDArray[np.float64]

PEAK = 255.0
ROUNDING_MSE = 1.0 / 12.0
"""Variance of rounding to whole levels: a smaller error cannot be distinguished from 8-bit rounding (58.9 dB)."""
MOVING_THRESHOLD = 0.1
"""A pixel has moved if a channel differs from the first frame by more than this share of the range."""
WINDOW, SIGMA = 11, 1.5
STABILIZE_MEAN, STABILIZE_CONTRAST = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr_from_mse(mse: float) -> float:
    """Return 10·log10(255² / MSE) in dB, at most 58.9 dB: equal frames get the ceiling, not infinity."""
    return 10.0 * math.log10(PEAK**2 / max(mse, ROUNDING_MSE))


def mse_by_frame(frames_THWC: Frames, reference_THWC: Frames) -> Floats:
    """Return the MSE of each of the frames 1..T-1, in squared levels of 0..255. Raise ValueError if shapes differ."""
    return _squared_errors(frames_THWC, reference_THWC).mean(axis=(1, 2))


def psnr(frames_THWC: Frames, reference_THWC: Frames) -> float:
    """Return the PSNR in dB of the clip, from the squared error pooled over frames 1..T-1, not a mean of decibels."""
    return psnr_from_mse(float(mse_by_frame(frames_THWC, reference_THWC).mean()))


def moving_pixels(reference_THWC: Frames) -> npt.NDArray[np.bool_]:
    """Return the mask (t, H, W) of pixels in frames 1..T-1 that differ from frame 0 by more than `MOVING_THRESHOLD`.

    The largest difference over the channels counts; the region is not dilated.
    """
    change = np.abs(reference_THWC[1:].astype(np.int16) - reference_THWC[:1].astype(np.int16)).max(axis=3)
    return np.asarray(change > MOVING_THRESHOLD * PEAK)


def moving_psnr(frames_THWC: Frames, reference_THWC: Frames) -> float | None:
    """Return the PSNR in dB over `moving_pixels` alone, pooled over frames 1..T-1; None if nothing moves."""
    moved_tHW = moving_pixels(reference_THWC)
    if not moved_tHW.any():
        return None
    return psnr_from_mse(float(_squared_errors(frames_THWC, reference_THWC)[moved_tHW].mean()))


def ssim_by_frame(frames_THWC: Frames, reference_THWC: Frames) -> list[float]:
    """Return the structural similarity of each of the frames 1..T-1, the mean over channels.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13:
    Gaussian window 11×11 with σ = 1.5, K1 = 0.01, K2 = 0.03, only windows entirely inside the picture.
    Raise ValueError if shapes differ or a side is below 11 pixels.
    """
    _check_shapes(frames_THWC, reference_THWC)
    if min(frames_THWC.shape[1:3]) < WINDOW:
        raise ValueError(f"SSIM needs frames of {WINDOW}×{WINDOW} pixels or more, not {frames_THWC.shape[1:3]}")
    pairs = zip(frames_THWC[1:], reference_THWC[1:], strict=True)
    return [_ssim(x_HWC.astype(np.float64), y_HWC.astype(np.float64)) for x_HWC, y_HWC in pairs]


def ssim(frames_THWC: Frames, reference_THWC: Frames) -> float:
    """Return the mean structural similarity of frames 1..T-1 (see `ssim_by_frame`)."""
    return float(np.mean(ssim_by_frame(frames_THWC, reference_THWC)))


def _ssim(x_HWC: Floats, y_HWC: Floats) -> float:
    mean_x, mean_y = _blur(x_HWC), _blur(y_HWC)
    variance_x = _blur(x_HWC * x_HWC) - mean_x**2
    variance_y = _blur(y_HWC * y_HWC) - mean_y**2
    covariance = _blur(x_HWC * y_HWC) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + STABILIZE_MEAN) / (mean_x**2 + mean_y**2 + STABILIZE_MEAN)
    structure = (2 * covariance + STABILIZE_CONTRAST) / (variance_x + variance_y + STABILIZE_CONTRAST)
    return float(np.mean(luminance * structure))


def _blur(x_HWC: Floats) -> Floats:
    edge = WINDOW // 2
    blurred_HWC = cv2.GaussianBlur(x_HWC, (WINDOW, WINDOW), SIGMA)
    return np.asarray(blurred_HWC[edge:-edge, edge:-edge], dtype=np.float64)


def _check_shapes(frames_THWC: Frames, reference_THWC: Frames) -> None:
    if frames_THWC.shape != reference_THWC.shape:
        raise ValueError(f"shapes differ: {frames_THWC.shape} and {reference_THWC.shape}")


def _squared_errors(frames_THWC: Frames, reference_THWC: Frames) -> Floats:
    """Return (t, H, W): the squared error of each pixel of frames 1..T-1, averaged over the channels."""
    _check_shapes(frames_THWC, reference_THWC)
    error_tHWC = frames_THWC[1:].astype(np.float64) - reference_THWC[1:]
    return np.asarray(np.einsum("thwc,thwc->thw", error_tHWC, error_tHWC) / frames_THWC.shape[3])
