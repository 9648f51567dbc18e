"""The frames of an episode that make a clip: retime to the target rate, then cut windows."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import ceil, floor

import numpy as np

TIME_TOLERANCE = 1e-9  # seconds


@lru_cache(maxsize=1024)
def retime(frames: int, fps_in: float, fps_out: float) -> Sequence[int]:
    """Return the source frame nearest to each target time k / fps_out, for every k that the episode covers.

    Source frame i stands for the times (i - ½)/fps_in … (i + ½)/fps_in. Exact rational arithmetic:
    equal rates give 0, 1, 2, … and no clip is lost to rounding. Slower sources repeat frames.
    """
    step = _exact_rate(fps_in) / _exact_rate(fps_out)
    frame_indices: list[int] = []
    while (frame := floor(len(frame_indices) * step + Fraction(1, 2))) < frames:
        frame_indices.append(frame)
    return frame_indices


MIN_GAP_SECONDS = 0.25  # a shorter step is never a gap, whatever the rate


def retime_uneven(times_T: np.ndarray, fps_out: float) -> list[int]:
    """Return the frame nearest to each time k / fps_out after the first, of frames at rising `times_T` seconds."""
    end = times_T[-1] - times_T[0] + _half_step(times_T)
    return nearest_frames(times_T, np.arange(max(1, ceil(end * fps_out - TIME_TOLERANCE))) / fps_out)


def nearest_frames(times_T: np.ndarray, seconds: np.ndarray) -> list[int]:
    """Return the frame nearest to each of `seconds` after the first frame; the later of two equally near ones."""
    borders = (times_T[1:] + times_T[:-1]) / 2 - times_T[0]
    return np.searchsorted(borders, seconds + TIME_TOLERANCE, side="right").tolist()


def surrounding_frames(times_T: np.ndarray, begin: float, end: float) -> tuple[int, int]:
    """Return the two frames that enclose the times `begin` and `end`, in seconds after the first frame.

    A frame covers half a median step on either side; the time between the two frames was not recorded.
    """
    seconds, half = times_T - times_T[0], _half_step(times_T) + TIME_TOLERANCE
    first = np.searchsorted(seconds, begin + half, side="right") - 1
    return int(first), int(np.searchsorted(seconds, end - half, side="left"))


def _half_step(times_T: np.ndarray) -> float:
    return float(np.median(np.diff(times_T)) / 2) if len(times_T) > 1 else 0.0


def rates_divide(fps_in: float, fps_out: float) -> bool:
    """Return whether every target time is the time of a source frame."""
    return (_exact_rate(fps_in) / _exact_rate(fps_out)).denominator == 1


def _exact_rate(fps: float) -> Fraction:
    if fps < 1:
        return 1 / Fraction(1 / fps).limit_denominator(1001)
    return Fraction(fps).limit_denominator(1001)  # 30000/1001 is the broadcast rate 29.97…


def grid_windows(targets: int, frames: int, stride: int) -> tuple[list[int], int | None]:
    """Return the first target of each window that fits, and of the first window that does not fit.

    The latter is None if that window would show nothing that the windows before it do not.
    """
    starts = list(range(0, targets - frames + 1, stride))
    if not starts:
        return [], 0
    rest = starts[-1] + stride
    covered = starts[-1] + frames
    return starts, rest if rest < targets and covered < targets else None


def random_windows(targets: int, frames: int, draws: int, seed: int) -> list[int]:
    """Return the first targets of `draws` different random windows, rising; all windows if there are no more."""
    count = targets - frames + 1
    if count <= draws:
        return list(range(max(count, 0)))
    return sorted(np.random.default_rng(seed).choice(count, draws, replace=False).tolist())


def stretch_frames(source_frames: int, frames: int) -> list[int]:
    """Return `frames` frame numbers evenly over the whole episode, including its first and last frame."""
    return [floor(k * Fraction(source_frames - 1, max(frames - 1, 1)) + Fraction(1, 2)) for k in range(frames)]


def find_gaps(times_T: np.ndarray) -> list[tuple[int, float]]:
    """Return (frame before the gap, its seconds) of each gap: over three frames' time and a quarter of a second."""
    steps = np.diff(times_T)
    if steps.max(initial=0) <= MIN_GAP_SECONDS:
        return []
    most = max(3 * float(np.median(steps)), MIN_GAP_SECONDS)
    return [(int(frame), float(steps[frame])) for frame in np.flatnonzero(steps > most)]


def find_gap_within(frame_indices: Sequence[int], gaps: Sequence[tuple[int, float]]) -> tuple[int, float] | None:
    """Return the first of `gaps` that lies between two of the chosen frames, or None."""
    inside = (gap for gap in gaps for a, b in pairwise(frame_indices) if a <= gap[0] < b)
    return next(inside, None)
