"""What the frames of a recording look like, in a few numbers each: enough to judge and to recognise it.

Shapes: T frames, P×P patches, S×S thumbnail, H height, W width.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load, save

from worldtune.episodes.seen import remembered

SIDE, PATCHES, VIEW = 16, 8, (256, 192)
FORMAT = "looks 2"  # another number for another way to look


@dataclass(frozen=True, eq=False)
class Looks:
    """Of every frame: a grey thumbnail, its sharpness, and what moved in it.

    thumbs (T, 16, 16) uint8. sharpness (T,) float32: the variance of the Laplacian of the luma, at 256×192 or less.
    motion (T, 8, 8) float16: the mean absolute change of the luma since the frame before, by patch; 0 at first.
    """

    thumbs: np.ndarray
    sharpness: np.ndarray
    motion: np.ndarray

    def part(self, start: int, frames: int) -> "Looks":
        """Those of some frames in a row, the first of which is compared with nothing."""
        its = slice(start, start + frames)
        motion = self.motion[its].copy()
        motion[:1] = 0
        return Looks(self.thumbs[its], self.sharpness[its], motion)

    @property
    def brightness(self) -> np.ndarray:
        """The mean luma of each frame, 0 to 255."""
        return np.asarray(self.thumbs.mean((1, 2)))

    def to_bytes(self) -> bytes:
        """Fixed cameras' thumbnails differ little from frame to frame, which is what makes them small."""
        steps = np.diff(self.thumbs, axis=0, prepend=np.zeros_like(self.thumbs[:1]))
        return zlib.compress(save({"steps": steps, "sharpness": self.sharpness, "motion": self.motion}), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Looks":
        found = load(zlib.decompress(data))
        return cls(np.cumsum(found["steps"], axis=0, dtype=np.uint8), found["sharpness"], found["motion"])


class Look:
    """Frame after frame is looked at; what was seen is `looks`."""

    def __init__(self) -> None:
        self._thumbs: list[np.ndarray] = []
        self._sharpness: list[float] = []
        self._motion: list[np.ndarray] = []
        self._before: np.ndarray | None = None

    def at(self, luma_HW: np.ndarray) -> None:
        """`luma_HW` is uint8, from 0 to 255."""
        view = _shrink(luma_HW, *VIEW)
        self._sharpness.append(float(cv2.Laplacian(view, cv2.CV_32F).var()))
        small = cv2.resize(view, (64, 64), interpolation=cv2.INTER_AREA)
        self._thumbs.append(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        change = cv2.absdiff(small, small if self._before is None else self._before)
        self._motion.append(change.reshape(PATCHES, 8, PATCHES, 8).mean((1, 3), dtype=np.float32).astype(np.float16))
        self._before = small

    @property
    def looks(self) -> Looks:
        T = len(self._thumbs)
        return Looks(
            np.asarray(self._thumbs, np.uint8).reshape(T, SIDE, SIDE),
            np.asarray(self._sharpness, np.float32),
            np.asarray(self._motion, np.float16).reshape(T, PATCHES, PATCHES),
        )


def look_at(frames: Iterable[np.ndarray]) -> Looks:
    """The looks of pictures, each uint8 (H, W, 3)."""
    look = Look()
    for frame_HWC in frames:
        look.at(cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY))
    return look.looks


def remembered_looks(file: Path, of: str, frames: Callable[[], Iterable[np.ndarray]]) -> Looks:
    """The looks of a recording in `file` that `of` tells from others; its frames are asked for once.

    Raises DataError and UserError as `remembered` does.
    """
    what = f"{FORMAT} of {of}"
    return Looks.from_bytes(remembered(file, what, lambda: {what: look_at(frames()).to_bytes()}))


def _shrink(luma_HW: np.ndarray, width: int, height: int) -> np.ndarray:
    size = min(width, luma_HW.shape[1]), min(height, luma_HW.shape[0])
    return np.asarray(cv2.resize(luma_HW, size, interpolation=cv2.INTER_AREA))
