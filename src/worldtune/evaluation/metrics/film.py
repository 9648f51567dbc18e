"""A video with what several metrics want to know of it, each found once.

Shape letters: T frames, H height, W width, C channels; t = T-1 steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.evaluation.case import Frames, Video

Floats = npt.NDArray[np.float32]
Found = TypeVar("Found")
LEAST_SIDE = 128  # pixels: dense flow of smaller pictures is found on enlarged ones
MOST_SIDE = 256  # pixels of the shorter side that colours and flow are looked at; larger pictures are reduced


@dataclass(frozen=True, eq=False)
class Film:
    """A video while it is measured: it is read at the first question. `known` is for `once`."""

    video: Video
    known: dict[object, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, key: object, find: "Callable[[Film], Found]") -> Found:
        """What `find` finds of this film: at the first question, and known by its key after it."""
        if key not in self.known:
            self.known[key] = find(self)
        found: Found = self.known[key]
        return found

    @cached_property
    def frames_THWC(self) -> Frames:
        """uint8 RGB."""
        return self.video.read()

    @cached_property
    def grey_THW(self) -> Frames:
        """Luma, 0 to 255."""
        return np.stack([cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY) for frame_HWC in self.frames_THWC])

    @cached_property
    def small_THWC(self) -> Frames:
        """The frames reduced by a whole factor, so that the shorter side has at most `MOST_SIDE` pixels."""
        H, W = self.frames_THWC.shape[1:3]
        factor = -(-min(H, W) // MOST_SIDE)
        if factor == 1:
            return self.frames_THWC
        size = W // factor, H // factor
        return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in self.frames_THWC])

    @cached_property
    def lab_THWC(self) -> Floats:
        """CIE L*a*b* (D65) of the reduced frames: differences of about 2.3 can just be seen."""
        return np.stack([cv2.cvtColor(f.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for f in self.small_THWC])

    @cached_property
    def flow_tHWC(self) -> Floats:
        """Where each pixel of the reduced frames 0..T-2 goes in the next one, (x, y): DIS (Kroeger et al. 2016)."""
        return _flows(self._small_grey_THW[:-1], self._small_grey_THW[1:])

    @cached_property
    def back_tHWC(self) -> Floats:
        """Where each pixel of the reduced frames 1..T-1 was in the one before."""
        return _flows(self._small_grey_THW[1:], self._small_grey_THW[:-1])

    @cached_property
    def _small_grey_THW(self) -> Frames:
        return np.stack([cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY) for frame_HWC in self.small_THWC])


def once(measure: Callable[[Film], Found]) -> Callable[[Film], Found]:
    """A measurement that is taken of a film at the first question, and known after it."""

    @wraps(measure)
    def taken(film: Film) -> Found:
        return film.once(measure, measure)

    return taken


def _flows(ones_tHW: Frames, others_tHW: Frames) -> Floats:
    H, W = ones_tHW.shape[1:]
    scale = max(1, -(-LEAST_SIDE // min(H, W)))
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = np.empty((len(ones_tHW), H, W, 2), np.float32)
    for one_HW, other_HW, flow_HWC in zip(ones_tHW, others_tHW, flows, strict=True):
        found_HWC = dis.calc(_larger(one_HW, scale), _larger(other_HW, scale), None)  # type: ignore[call-overload]
        flow_HWC[:] = cv2.resize(found_HWC, (W, H), interpolation=cv2.INTER_AREA) / scale
    return flows


def _larger(grey_HW: Frames, scale: int) -> Frames:
    if scale == 1:
        return np.ascontiguousarray(grey_HW)
    return np.asarray(cv2.resize(grey_HW, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
