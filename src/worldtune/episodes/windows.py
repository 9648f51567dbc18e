"""Which frames of an episode make a clip: retiming to the target rate, then windows."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import ceil, floor

import numpy as np

ROUNDING = 1e-9  # seconds


@lru_cache(maxsize=1024)
def retime(frames: int, fps_in: float, fps_out: float) -> Sequence[int]:
    """The source frame nearest to each target time k / fps_out, for every k the episode covers.

    Source frame i stands for the times (i - ½)/fps_in … (i + ½)/fps_in. Exact rational arithmetic:
    equal rates give 0, 1, 2, … and no clip is lost to rounding. Slower sources repeat frames.
    """
    step = _exact(fps_in) / _exact(fps_out)
    picks: list[int] = []
    while (pick := floor(len(picks) * step + Fraction(1, 2))) < frames:
        picks.append(pick)
    return picks


SHORT = 0.25  # seconds that are no jump at any rate


def retime_by(times_T: np.ndarray, fps_out: float) -> list[int]:
    """As `retime`, of frames at rising `times_T` seconds: the nearest to each time k / fps_out after the first."""
    end = times_T[-1] - times_T[0] + _half_step(times_T)
    return nearest(times_T, np.arange(max(1, ceil(end * fps_out - ROUNDING))) / fps_out)


def nearest(times_T: np.ndarray, seconds: np.ndarray) -> list[int]:
    """The frame nearest to each of the `seconds` after the first one, the later of two."""
    borders = (times_T[1:] + times_T[:-1]) / 2 - times_T[0]
    return np.searchsorted(borders, seconds + ROUNDING, side="right").tolist()


def recorded(times_T: np.ndarray, begin: float, end: float) -> tuple[int, int]:
    """The frames that `begin` and `end`, seconds after the first one, lie between.

    A frame stands for half a median step on either side: what lies between the two was not recorded.
    """
    seconds, half = times_T - times_T[0], _half_step(times_T) + ROUNDING
    first = np.searchsorted(seconds, begin + half, side="right") - 1
    return int(first), int(np.searchsorted(seconds, end - half, side="left"))


def _half_step(times_T: np.ndarray) -> float:
    return float(np.median(np.diff(times_T)) / 2) if len(times_T) > 1 else 0.0


def meets(fps_in: float, fps_out: float) -> bool:
    """Is every target time a source frame's?"""
    return (_exact(fps_in) / _exact(fps_out)).denominator == 1


def _exact(fps: float) -> Fraction:
    if fps < 1:
        return 1 / Fraction(1 / fps).limit_denominator(1001)
    return Fraction(fps).limit_denominator(1001)  # 30000/1001 is the broadcast rate 29.97…


def cut(targets: int, frames: int, stride: int) -> tuple[list[int], int | None]:
    """(first target of each window that fits, first target of the window that did not or None).

    The remainder is None when it would show nothing that the windows before it do not.
    """
    starts = list(range(0, targets - frames + 1, stride))
    if not starts:
        return [], 0
    rest = starts[-1] + stride
    covered = starts[-1] + frames
    return starts, rest if rest < targets and covered < targets else None


def draw(targets: int, frames: int, draws: int, seed: int) -> list[int]:
    """The first target of each of `draws` random windows, rising, each once; all there are when there are no more."""
    room = targets - frames + 1
    if room <= draws:
        return list(range(max(room, 0)))
    return sorted(np.random.default_rng(seed).choice(room, draws, replace=False).tolist())


def stretch(source_frames: int, frames: int) -> list[int]:
    """`frames` frames evenly over the whole episode, its first and last among them."""
    return [floor(k * Fraction(source_frames - 1, max(frames - 1, 1)) + Fraction(1, 2)) for k in range(frames)]


def jumps(times_T: np.ndarray) -> list[tuple[int, float]]:
    """(frame after which time jumps, by how many seconds): more than three frames' time and a quarter of a second."""
    steps = np.diff(times_T)
    if steps.max(initial=0) <= SHORT:
        return []
    most = max(3 * float(np.median(steps)), SHORT)
    return [(int(frame), float(steps[frame])) for frame in np.flatnonzero(steps > most)]


def jump_within(picks: Sequence[int], found: Sequence[tuple[int, float]]) -> tuple[int, float] | None:
    """The first of the `found` jumps that lies between two of the picked frames."""
    inside = (jump for jump in found for a, b in pairwise(picks) if a <= jump[0] < b)
    return next(inside, None)
