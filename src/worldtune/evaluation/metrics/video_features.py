"""Features of a video that several metrics share, each computed once.

Shape letters: T frames, H height, W width, C channels; t = T-1 steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.evaluation.cases.case import Frames, Video

Floats = npt.NDArray[np.float32]
Value = TypeVar("Value")
MIN_SIDE = 128  # pixels: smaller pictures are enlarged for dense flow
MAX_SIDE = 256  # pixels of the shorter side: larger pictures are reduced for colors and flow


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """The features of a video, computed on first use. `cache` holds the values of `compute_once`."""

    video: Video
    cache: dict[object, Any] = field(default_factory=dict, init=False, repr=False)

    def compute_once(self, key: object, compute: "Callable[[VideoFeatures], Value]") -> Value:
        """Return the cached value of `key`. On first use, compute it from this video."""
        if key not in self.cache:
            self.cache[key] = compute(self)
        value: Value = self.cache[key]
        return value

    @cached_property
    def frames_THWC(self) -> Frames:
        """The frames, uint8 RGB."""
        return self.video.read()

    @cached_property
    def gray_THW(self) -> Frames:
        """Luma, 0 to 255."""
        return np.stack([cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY) for frame_HWC in self.frames_THWC])

    @cached_property
    def small_THWC(self) -> Frames:
        """The frames, reduced by an integer factor so that the shorter side has at most `MAX_SIDE` pixels."""
        H, W = self.frames_THWC.shape[1:3]
        factor = -(-min(H, W) // MAX_SIDE)
        if factor == 1:
            return self.frames_THWC
        size = W // factor, H // factor
        return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in self.frames_THWC])

    @cached_property
    def lab_THWC(self) -> Floats:
        """CIE L*a*b* (D65) of the reduced frames; a difference of about 2.3 is just visible."""
        return np.stack([cv2.cvtColor(f.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for f in self.small_THWC])

    @cached_property
    def flow_tHWC(self) -> Floats:
        """Flow (x, y) of the reduced frames 0..T-2 to the next frame: DIS (Kroeger et al. 2016)."""
        return _dense_flow(self._small_gray_THW[:-1], self._small_gray_THW[1:])

    @cached_property
    def back_tHWC(self) -> Floats:
        """Flow (x, y) of the reduced frames 1..T-1 back to the previous frame."""
        return _dense_flow(self._small_gray_THW[1:], self._small_gray_THW[:-1])

    @cached_property
    def _small_gray_THW(self) -> Frames:
        return np.stack([cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY) for frame_HWC in self.small_THWC])


def compute_once(measure: Callable[[VideoFeatures], Value]) -> Callable[[VideoFeatures], Value]:
    """Return a function that computes `measure` once for each video."""

    @wraps(measure)
    def cached(features: VideoFeatures) -> Value:
        return features.compute_once(measure, measure)

    return cached


def _dense_flow(from_tHW: Frames, to_tHW: Frames) -> Floats:
    H, W = from_tHW.shape[1:]
    scale = max(1, -(-MIN_SIDE // min(H, W)))
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = np.empty((len(from_tHW), H, W, 2), np.float32)
    for from_HW, to_HW, flow_HWC in zip(from_tHW, to_tHW, flows, strict=True):
        large_HWC = dis.calc(_enlarge(from_HW, scale), _enlarge(to_HW, scale), None)  # type: ignore[call-overload]
        flow_HWC[:] = cv2.resize(large_HWC, (W, H), interpolation=cv2.INTER_AREA) / scale
    return flows


def _enlarge(gray_HW: Frames, scale: int) -> Frames:
    if scale == 1:
        return np.ascontiguousarray(gray_HW)
    return np.asarray(cv2.resize(gray_HW, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
