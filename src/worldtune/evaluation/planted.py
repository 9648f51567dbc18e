"""Faults planted in real videos: what a metric, a judge and a gate must see.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Callable

import cv2
import numpy as np

from worldtune.evaluation.case import Frames, held
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.metrics.objects import regions

Fault = Callable[[Frames], Frames]


def blur(frames_THWC: Frames) -> Frames:
    """A Gaussian blur that grows over the clip, to a fortieth of the shorter side."""
    most = max(1.2, min(frames_THWC.shape[1:3]) / 40)
    grown = np.linspace(0, most, len(frames_THWC))
    return np.stack([f if s < 0.1 else cv2.GaussianBlur(f, (0, 0), s) for f, s in zip(frames_THWC, grown, strict=True)])


def freeze(frames_THWC: Frames) -> Frames:
    """From a third of the clip on it stands still."""
    return frames_THWC[np.minimum(np.arange(len(frames_THWC)), len(frames_THWC) // 3)]


def jitter(frames_THWC: Frames) -> Frames:
    """Every frame but the first is shifted by up to a thirtieth of the shorter side."""
    draw, most = np.random.default_rng(0), max(1, round(min(frames_THWC.shape[1:3]) / 30))
    shifts = [(0, 0), *draw.integers(-most, most + 1, (len(frames_THWC) - 1, 2)).tolist()]
    return np.stack([_shifted(f, dx, dy) for f, (dx, dy) in zip(frames_THWC, shifts, strict=True)])


def remove_object(frames_THWC: Frames) -> Frames:
    """The first object vanishes after a quarter of the clip: what is around it is painted over it."""
    mask_HW = cv2.dilate(_object(frames_THWC).astype(np.uint8), np.ones((5, 5), np.uint8))
    begin = len(frames_THWC) // 4
    gone = [cv2.inpaint(frame_HWC, mask_HW, 3, cv2.INPAINT_TELEA) for frame_HWC in frames_THWC[begin:]]
    return np.concatenate([frames_THWC[:begin], np.stack(gone)])


def duplicate_object(frames_THWC: Frames) -> Frames:
    """After a quarter of the clip a second one of the first object stands beside it."""
    mask_HW = _object(frames_THWC)
    ys, xs = np.nonzero(mask_HW)
    W = mask_HW.shape[1]
    width = int(np.ptp(xs)) + 2
    dx = width if xs.max() + width < W else -width
    frames = frames_THWC.copy()
    inside = (xs + dx >= 0) & (xs + dx < W)
    frames[len(frames) // 4 :, ys[inside], xs[inside] + dx] = frames_THWC[0, ys[inside], xs[inside]]
    return frames


def drift_colours(frames_THWC: Frames) -> Frames:
    """Red rises and blue falls over the clip, by thirty levels in the end."""
    grown_T = np.linspace(0, 30, len(frames_THWC))[:, None, None, None]
    return np.clip(frames_THWC + grown_T * np.array([1, 0, -1]), 0, 255).astype(np.uint8)


def reverse(frames_THWC: Frames) -> Frames:
    """Time runs backwards."""
    return frames_THWC[::-1].copy()


def shift_camera(frames_THWC: Frames) -> Frames:
    """After a quarter of the clip the camera looks a fifteenth of the picture aside."""
    dx, begin = max(1, round(frames_THWC.shape[2] / 15)), len(frames_THWC) // 4
    shifted = [_shifted(frame_HWC, dx, 0) for frame_HWC in frames_THWC[begin:]]
    return np.concatenate([frames_THWC[:begin], np.stack(shifted)])


def shrink_motion(frames_THWC: Frames) -> Frames:
    """Everything goes only four tenths of its way, as of a model that predicts the mean of all motions."""
    return frames_THWC[np.round(np.arange(len(frames_THWC)) * 0.4).astype(int)]


FAULTS: dict[str, Fault] = {
    "blur": blur,
    "freeze": freeze,
    "jitter": jitter,
    "object removed": remove_object,
    "object duplicated": duplicate_object,
    "colour drift": drift_colours,
    "time reversed": reverse,
    "camera shifted": shift_camera,
    "motion shrunk": shrink_motion,
}


def has_object(frames_THWC: Frames) -> bool:
    """Is there an object that can be removed or duplicated?"""
    return bool(regions(Film(held(frames_THWC[[0, 0]]))))


def _object(frames_THWC: Frames) -> np.ndarray:
    found = regions(Film(held(frames_THWC[[0, 0]])))
    if not found:
        raise ValueError("there is no object to plant a fault in: ask has_object first")
    mask_HW = max(found, key=lambda region: region.mask_HW.sum()).mask_HW.astype(np.uint8)
    return cv2.resize(mask_HW, frames_THWC.shape[2:0:-1], interpolation=cv2.INTER_NEAREST).astype(bool)


def _shifted(frame_HWC: Frames, dx: int, dy: int) -> Frames:
    moved = cv2.warpAffine(
        frame_HWC,
        np.array([[1, 0, dx], [0, 1, dy]], np.float32),
        frame_HWC.shape[1::-1],
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, np.uint8)
