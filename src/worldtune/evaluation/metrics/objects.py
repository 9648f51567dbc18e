"""Object permanence: single-color regions of the first frame, tracked through the later frames.

A region is lost if little of its color is left around its last position, and duplicated if there is much more of it.
Objects also go behind the arm in the real video, so each region's state is compared with the real video frame by frame.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.evaluation.metrics.video_features import Floats, VideoFeatures, compute_once

COLORS = 6  # clusters of the first frame's colors
MIN_AREA, MAX_AREA = 0.003, 0.1  # area of an object as a share of the picture
MIN_CONTRAST = 20.0  # smallest ΔE of an object's color to its surroundings
LOST, DUPLICATED = 0.4, 1.6  # pixels of the object's color, relative to the first frame: lost below, duplicated above

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Region:
    """A region of the reduced first frame that touches no edge: its mask (H, W) and median color in L*a*b*.

    Colors within `color_radius` (ΔE) count as the region's. `pixels` is the number of such pixels around it.
    """

    mask_HW: Mask
    lab_C: Floats
    color_radius: float
    pixels: int

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """The first and last row, first and last column."""
        ys, xs = np.nonzero(self.mask_HW)
        return int(ys.min()), int(ys.max()), int(xs.min()), int(xs.max())

    @property
    def center(self) -> tuple[float, float]:
        """The center (y, x)."""
        ys, xs = np.nonzero(self.mask_HW)
        return float(ys.mean()), float(xs.mean())

    def window(self, y: float, x: float) -> tuple[slice, slice]:
        """Return a window around (y, x) of about three times the region's height and width."""
        top, bottom, left, right = self.box
        tall, wide = 1.5 * (bottom - top) + 4, 1.5 * (right - left) + 4
        return slice(max(0, round(y - tall)), round(y + tall) + 1), slice(max(0, round(x - wide)), round(x + wide) + 1)


@compute_once
def regions(features: VideoFeatures) -> list[Region]:
    """Return the regions of the video's first frame, the largest first."""
    lab_HWC = features.lab_THWC[0]
    parts = []
    for part_HW in _connected_parts(cv2.GaussianBlur(lab_HWC, (3, 3), 0)):
        touches = part_HW[[0, -1]].any() or part_HW[:, [0, -1]].any()
        if not touches and MIN_AREA <= part_HW.mean() <= MAX_AREA:
            parts.append(part_HW)
    found: list[Region] = []
    for part_HW in sorted(parts, key=lambda mask_HW: -int(mask_HW.sum())):
        region = _make_region(part_HW, lab_HWC)
        if region is not None and not any(_is_part_of(region, larger) for larger in found):
            found.append(region)
    return found


def _connected_parts(lab_HWC: Floats) -> Iterator[Mask]:
    """Yield the connected parts of each color."""
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    cv2.setRNGSeed(0)
    flat = lab_HWC.reshape(-1, 3)
    _, labels, _ = cv2.kmeans(flat, COLORS, None, criteria, 3, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    for color in range(COLORS):
        mask_HW = (labels == color).reshape(lab_HWC.shape[:2]).astype(np.uint8)
        count, parts_HW = cv2.connectedComponents(mask_HW)
        yield from (parts_HW == part for part in range(1, count))


def _make_region(mask_HW: Mask, lab_HWC: Floats) -> Region | None:
    around_HW = cv2.dilate(mask_HW.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=3).astype(bool) & ~mask_HW
    color = np.asarray(np.median(lab_HWC[mask_HW], 0), np.float32)
    contrast = float(np.median(np.linalg.norm(lab_HWC[around_HW] - color, axis=1)))
    if contrast < MIN_CONTRAST:
        return None
    region = Region(mask_HW, color, min(contrast / 2, 25.0), 0)
    return replace(region, pixels=len(_find_pixels(lab_HWC, region, *region.center)[0]))


def _is_part_of(region: Region, larger: Region) -> bool:
    """Return whether the region's center is inside the larger region's box, as that of its rim is."""
    top, bottom, left, right = larger.box
    y, x = region.center
    return top - 2 <= y <= bottom + 2 and left - 2 <= x <= right + 2


def _find_pixels(lab_HWC: Floats, region: Region, y: float, x: float) -> tuple[Indices, Indices]:
    """Return the pixels (ys, xs) of the region's color around (y, x)."""
    rows, columns = region.window(y, x)
    at_y, at_x = np.nonzero(np.linalg.norm(lab_HWC[rows, columns] - region.lab_C, axis=-1) < region.color_radius)
    return at_y + rows.start, at_x + columns.start


def presence(features: VideoFeatures, region: Region) -> Floats:
    """Return (T,): the number of pixels of the region's color around its last position, relative to the first frame."""
    y, x = region.center
    shares: list[float] = []
    for lab_HWC in features.lab_THWC:
        ys, xs = _find_pixels(lab_HWC, region, y, x)
        shares.append(len(ys) / region.pixels)
        if LOST <= shares[-1] <= DUPLICATED:
            y, x = float(ys.mean()), float(xs.mean())
    return np.asarray(shares, np.float32)


def object_permanence(features: VideoFeatures, reference: VideoFeatures) -> float | None:
    """Return the share of (object, frame) in the same state as in the real video: lost, present or duplicated.

    The objects are those of the real video's first frame. Return None if there are none.
    """
    objects = regions(reference)
    if not objects:
        return None
    agrees = [
        _classify(presence(features, region)) == real
        for region, real in zip(objects, _reference_states(reference), strict=True)
    ]
    return float(np.mean([states_T[1:] for states_T in agrees]))


@compute_once
def _reference_states(features: VideoFeatures) -> list[npt.NDArray[np.int64]]:
    return [_classify(presence(features, region)) for region in regions(features)]


def _classify(presence_T: Floats) -> npt.NDArray[np.int64]:
    return np.digitize(presence_T, [LOST, DUPLICATED])
