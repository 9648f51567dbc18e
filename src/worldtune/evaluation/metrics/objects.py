"""Do objects stay? Regions of one colour in the given frame, followed through every later one.

A region is lost where little of its colour is left around the place that it was last seen at, multiplied where there is
much more of it. In the real video things go behind the arm, too: so what is compared is each region's state, frame by
frame, in both.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.evaluation.metrics.film import Film, Floats, once

COLOURS = 6  # that the given frame is thought to have
LEAST, MOST = 0.003, 0.1  # share of the picture that an object may have
CONTRAST = 20.0  # ΔE of its colour to what is around it, at least
LOST, MULTIPLIED = 0.4, 1.6  # share of the first frame's pixels of that colour

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Region:
    """A part (H, W) of the given frame, reduced, that touches no edge, its colour, how far another may be from it (ΔE),
    and how many pixels of that colour are around it.
    """

    mask_HW: Mask
    lab_C: Floats
    reach: float
    pixels: int

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """Its first and last row, first and last column."""
        ys, xs = np.nonzero(self.mask_HW)
        return int(ys.min()), int(ys.max()), int(xs.min()), int(xs.max())

    @property
    def centre(self) -> tuple[float, float]:
        """(y, x)."""
        ys, xs = np.nonzero(self.mask_HW)
        return float(ys.mean()), float(xs.mean())

    def around(self, y: float, x: float) -> tuple[slice, slice]:
        """A window about a place, of three times the region's height and width."""
        top, bottom, left, right = self.box
        tall, wide = 1.5 * (bottom - top) + 4, 1.5 * (right - left) + 4
        return slice(max(0, round(y - tall)), round(y + tall) + 1), slice(max(0, round(x - wide)), round(x + wide) + 1)


@once
def regions(film: Film) -> list[Region]:
    """The regions of the film's first frame, the largest first."""
    lab_HWC = film.lab_THWC[0]
    parts = []
    for part_HW in _parts(cv2.GaussianBlur(lab_HWC, (3, 3), 0)):
        touches = part_HW[[0, -1]].any() or part_HW[:, [0, -1]].any()
        if not touches and LEAST <= part_HW.mean() <= MOST:
            parts.append(part_HW)
    found: list[Region] = []
    for part_HW in sorted(parts, key=lambda mask_HW: -int(mask_HW.sum())):
        region = _region(part_HW, lab_HWC)
        if region is not None and not any(_is_rim(region, other) for other in found):
            found.append(region)
    return found


def _parts(lab_HWC: Floats) -> Iterator[Mask]:
    """The connected parts of one colour."""
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    cv2.setRNGSeed(0)
    flat = lab_HWC.reshape(-1, 3)
    _, labels, _ = cv2.kmeans(flat, COLOURS, None, criteria, 3, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    for colour in range(COLOURS):
        mask_HW = (labels == colour).reshape(lab_HWC.shape[:2]).astype(np.uint8)
        count, parts_HW = cv2.connectedComponents(mask_HW)
        yield from (parts_HW == part for part in range(1, count))


def _region(mask_HW: Mask, lab_HWC: Floats) -> Region | None:
    around_HW = cv2.dilate(mask_HW.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=3).astype(bool) & ~mask_HW
    colour = np.asarray(np.median(lab_HWC[mask_HW], 0), np.float32)
    contrast = float(np.median(np.linalg.norm(lab_HWC[around_HW] - colour, axis=1)))
    if contrast < CONTRAST:
        return None
    region = Region(mask_HW, colour, min(contrast / 2, 25.0), 0)
    return replace(region, pixels=len(_seen(lab_HWC, region, *region.centre)[0]))


def _is_rim(region: Region, other: Region) -> bool:
    """Is it a part of the other, as its rim is?"""
    top, bottom, left, right = other.box
    y, x = region.centre
    return top - 2 <= y <= bottom + 2 and left - 2 <= x <= right + 2


def _seen(lab_HWC: Floats, region: Region, y: float, x: float) -> tuple[Places, Places]:
    """The pixels (ys, xs) of the region's colour around a place."""
    rows, columns = region.around(y, x)
    at_y, at_x = np.nonzero(np.linalg.norm(lab_HWC[rows, columns] - region.lab_C, axis=-1) < region.reach)
    return at_y + rows.start, at_x + columns.start


def presence(film: Film, region: Region) -> Floats:
    """(T,): pixels of the region's colour around the place that it was last seen at, over those of the region."""
    y, x = region.centre
    shares: list[float] = []
    for lab_HWC in film.lab_THWC:
        ys, xs = _seen(lab_HWC, region, y, x)
        shares.append(len(ys) / region.pixels)
        if LOST <= shares[-1] <= MULTIPLIED:
            y, x = float(ys.mean()), float(xs.mean())
    return np.asarray(shares, np.float32)


def object_permanence(film: Film, reference: Film) -> float | None:
    """Share of (object, frame) in which an object is lost, there or multiplied as it is in the real video.

    The objects are those of the real video's first frame. None when it has none.
    """
    found = regions(reference)
    if not found:
        return None
    agrees = [_states(presence(film, region)) == real for region, real in zip(found, _tracked(reference), strict=True)]
    return float(np.mean([each[1:] for each in agrees]))


@once
def _tracked(film: Film) -> list[npt.NDArray[np.int64]]:
    return [_states(presence(film, region)) for region in regions(film)]


def _states(presence_T: Floats) -> npt.NDArray[np.int64]:
    return np.digitize(presence_T, [LOST, MULTIPLIED])
