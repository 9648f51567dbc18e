"""Frame features: a few numbers for each frame, enough to judge and to recognize it.

Shapes: T frames, P×P patches, S×S thumbnail, H height, W width, h and w of a chroma plane.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load, save

from worldtune.data.video.file_cache import cached

THUMBNAIL_SIDE, PATCHES, SHARPNESS_SIZE = 16, 8, (256, 192)
FEATURES_FORMAT = "frame features 4"  # change the number when the features change


@dataclass(frozen=True, eq=False)
class FrameFeatures:
    """Features of every frame: a gray thumbnail, its colors, its sharpness, and its motion.

    thumbs (T, 16, 16) uint8. colors (T, 2, 8, 8) uint8: Cb and Cr (ITU-R BT.601, 0 to 255) by patch.
    sharpness (T,) float32: the variance of the Laplacian of the luma, at 256×192 or less.
    motion (T, 8, 8) float16: the mean absolute change of the luma since the frame before, by patch; first frame 0.
    """

    thumbs: np.ndarray
    sharpness: np.ndarray
    motion: np.ndarray
    colors: np.ndarray

    def select(self, start: int, frames: int) -> "FrameFeatures":
        """Return the features of consecutive frames; the first of them has no motion."""
        window = slice(start, start + frames)
        motion = self.motion[window].copy()
        motion[:1] = 0
        return FrameFeatures(self.thumbs[window], self.sharpness[window], motion, self.colors[window])

    @property
    def brightness(self) -> np.ndarray:
        """The mean luma of each frame, 0 to 255."""
        return np.asarray(self.thumbs.mean((1, 2)))

    def to_bytes(self) -> bytes:
        """Return the features compressed; thumbnails are stored as differences, small for a fixed camera."""
        arrays = {"thumbs": _differences(self.thumbs), "colors": _differences(self.colors)}
        return zlib.compress(save(arrays | {"sharpness": self.sharpness, "motion": self.motion}), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> "FrameFeatures":
        arrays = load(zlib.decompress(data))
        thumbs, colors = (np.cumsum(arrays[name], axis=0, dtype=np.uint8) for name in ("thumbs", "colors"))
        return cls(thumbs, arrays["sharpness"], arrays["motion"], colors)


class FrameFeatureExtractor:
    """An extractor that takes one frame after the other; the result is `frame_features`."""

    def __init__(self) -> None:
        self._thumbs: list[np.ndarray] = []
        self._sharpness: list[float] = []
        self._motion: list[np.ndarray] = []
        self._colors: list[np.ndarray] = []
        self._previous: np.ndarray | None = None

    def add(self, luma_HW: np.ndarray, chroma_2hw: Sequence[np.ndarray]) -> None:
        """Add the next frame: its luma and its Cb and Cr planes, uint8 from 0 to 255, each of any size."""
        view = _shrink(luma_HW, *SHARPNESS_SIZE)
        self._sharpness.append(float(cv2.Laplacian(view, cv2.CV_32F).var()))
        small = cv2.resize(view, (64, 64), interpolation=cv2.INTER_AREA)
        self._thumbs.append(cv2.resize(small, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA))
        change = cv2.absdiff(small, small if self._previous is None else self._previous)
        self._motion.append(change.reshape(PATCHES, 8, PATCHES, 8).mean((1, 3), dtype=np.float32).astype(np.float16))
        planes = [cv2.resize(plane_hw, (PATCHES, PATCHES), interpolation=cv2.INTER_AREA) for plane_hw in chroma_2hw]
        self._colors.append(np.stack(planes))
        self._previous = small

    @property
    def frame_features(self) -> FrameFeatures:
        T = len(self._thumbs)
        return FrameFeatures(
            np.asarray(self._thumbs, np.uint8).reshape(T, THUMBNAIL_SIDE, THUMBNAIL_SIDE),
            np.asarray(self._sharpness, np.float32),
            np.asarray(self._motion, np.float16).reshape(T, PATCHES, PATCHES),
            np.asarray(self._colors, np.uint8).reshape(T, 2, PATCHES, PATCHES),
        )


def extract_frame_features(frames: Iterable[np.ndarray]) -> FrameFeatures:
    """Return the features of frames, each uint8 (H, W, 3)."""
    extractor = FrameFeatureExtractor()
    for frame_HWC in frames:
        extractor.add(cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY), chroma(frame_HWC))
    return extractor.frame_features


def chroma(frame_HWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Cb and Cr planes of an RGB frame, 8×8 each."""
    small = cv2.resize(frame_HWC, (PATCHES, PATCHES), interpolation=cv2.INTER_AREA)
    ycrcb = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)
    return ycrcb[..., 2], ycrcb[..., 1]


def cached_frame_features(file: Path, recording_key: str, frames: Callable[[], Iterable[np.ndarray]]) -> FrameFeatures:
    """Return the features of the recording `recording_key` in `file`; `frames` is called only if they are not cached.

    Raise DataError and UserError as `cached` does.
    """
    what = f"{FEATURES_FORMAT} of {recording_key}"
    return FrameFeatures.from_bytes(cached(file, what, lambda: {what: extract_frame_features(frames()).to_bytes()}))


def _differences(images_T: np.ndarray) -> np.ndarray:
    return np.diff(images_T, axis=0, prepend=np.zeros_like(images_T[:1]))


def _shrink(luma_HW: np.ndarray, width: int, height: int) -> np.ndarray:
    size = min(width, luma_HW.shape[1]), min(height, luma_HW.shape[0])
    return np.asarray(cv2.resize(luma_HW, size, interpolation=cv2.INTER_AREA))
