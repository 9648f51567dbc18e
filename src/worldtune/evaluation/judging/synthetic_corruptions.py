"""Synthetic corruptions of real videos, which metrics, judges and gates must detect.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Callable

import cv2
import numpy as np

from worldtune.evaluation.cases.case import Frames, video_from_frames
from worldtune.evaluation.metrics.objects import regions
from worldtune.evaluation.metrics.video_features import VideoFeatures

Corruption = Callable[[Frames], Frames]


def blur(frames_THWC: Frames) -> Frames:
    """Blur increasingly over the clip, up to a σ of a fortieth of the shorter side."""
    largest = max(1.2, min(frames_THWC.shape[1:3]) / 40)
    sigmas = np.linspace(0, largest, len(frames_THWC))
    return np.stack(
        [f if s < 0.1 else cv2.GaussianBlur(f, (0, 0), s) for f, s in zip(frames_THWC, sigmas, strict=True)]
    )


def freeze(frames_THWC: Frames) -> Frames:
    """Freeze the video from a third of the clip on."""
    return frames_THWC[np.minimum(np.arange(len(frames_THWC)), len(frames_THWC) // 3)]


def jitter(frames_THWC: Frames) -> Frames:
    """Shift every frame except the first by up to a thirtieth of the shorter side."""
    rng, largest = np.random.default_rng(0), max(1, round(min(frames_THWC.shape[1:3]) / 30))
    shifts = [(0, 0), *rng.integers(-largest, largest + 1, (len(frames_THWC) - 1, 2)).tolist()]
    return np.stack([_shift(f, dx, dy) for f, (dx, dy) in zip(frames_THWC, shifts, strict=True)])


def remove_object(frames_THWC: Frames) -> Frames:
    """Inpaint the largest object from a quarter of the clip on."""
    mask_HW = cv2.dilate(_find_object(frames_THWC).astype(np.uint8), np.ones((5, 5), np.uint8))
    start = len(frames_THWC) // 4
    inpainted = [cv2.inpaint(frame_HWC, mask_HW, 3, cv2.INPAINT_TELEA) for frame_HWC in frames_THWC[start:]]
    return np.concatenate([frames_THWC[:start], np.stack(inpainted)])


def duplicate_object(frames_THWC: Frames) -> Frames:
    """Paste a copy of the largest object next to it from a quarter of the clip on."""
    mask_HW = _find_object(frames_THWC)
    ys, xs = np.nonzero(mask_HW)
    W = mask_HW.shape[1]
    width = int(np.ptp(xs)) + 2
    dx = width if xs.max() + width < W else -width
    frames = frames_THWC.copy()
    inside = (xs + dx >= 0) & (xs + dx < W)
    frames[len(frames) // 4 :, ys[inside], xs[inside] + dx] = frames_THWC[0, ys[inside], xs[inside]]
    return frames


def drift_colors(frames_THWC: Frames) -> Frames:
    """Raise red and lower blue over the clip, by thirty levels at its end."""
    drift_T = np.linspace(0, 30, len(frames_THWC))[:, None, None, None]
    return np.clip(frames_THWC + drift_T * np.array([1, 0, -1]), 0, 255).astype(np.uint8)


def reverse(frames_THWC: Frames) -> Frames:
    """Reverse time."""
    return frames_THWC[::-1].copy()


def shift_camera(frames_THWC: Frames) -> Frames:
    """Shift the picture sideways by a fifteenth of its width from a quarter of the clip on."""
    dx, start = max(1, round(frames_THWC.shape[2] / 15)), len(frames_THWC) // 4
    shifted = [_shift(frame_HWC, dx, 0) for frame_HWC in frames_THWC[start:]]
    return np.concatenate([frames_THWC[:start], np.stack(shifted)])


def shrink_motion(frames_THWC: Frames) -> Frames:
    """Play only the first four tenths of the motion, like a model that predicts the mean of all motions."""
    return frames_THWC[np.round(np.arange(len(frames_THWC)) * 0.4).astype(int)]


CORRUPTIONS: dict[str, Corruption] = {
    "blur": blur,
    "freeze": freeze,
    "jitter": jitter,
    "object removed": remove_object,
    "object duplicated": duplicate_object,
    "color drift": drift_colors,
    "time reversed": reverse,
    "camera shifted": shift_camera,
    "motion shrunk": shrink_motion,
}


def has_object(frames_THWC: Frames) -> bool:
    """Return whether the first frame has an object that can be removed or duplicated."""
    return bool(regions(VideoFeatures(video_from_frames(frames_THWC[[0, 0]]))))


def _find_object(frames_THWC: Frames) -> np.ndarray:
    objects = regions(VideoFeatures(video_from_frames(frames_THWC[[0, 0]])))
    if not objects:
        raise ValueError("the first frame has no object: check has_object first")
    mask_HW = max(objects, key=lambda region: region.mask_HW.sum()).mask_HW.astype(np.uint8)
    return cv2.resize(mask_HW, frames_THWC.shape[2:0:-1], interpolation=cv2.INTER_NEAREST).astype(bool)


def _shift(frame_HWC: Frames, dx: int, dy: int) -> Frames:
    moved = cv2.warpAffine(
        frame_HWC,
        np.array([[1, 0, dx], [0, 1, dy]], np.float32),
        frame_HWC.shape[1::-1],
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, np.uint8)
