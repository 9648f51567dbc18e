"""Resample messages that arrive at irregular times to frames at a fixed rate.

Shapes: T messages.
"""

from collections.abc import Iterable

import numpy as np

from worldtune.data.windows import find_gaps

TimeRange = tuple[int, int]
"""The times in ns of the first and the last message."""


def estimate_rate(stamps_T: np.ndarray) -> float:
    """Return images per second, rounded to a whole number if within 3 %, else to a tenth; below 1 to two digits.

    Stamps jitter and images get lost: a step counts as often as it contains the median step. Longer steps are pauses
    and do not count.
    """
    steps = np.diff(stamps_T)
    median = float(np.median(steps))
    near = steps[steps < 3.5 * median]
    rate = 1e9 * float(np.round(near / median).sum() / near.sum())
    if abs(rate / max(round(rate), 1) - 1) < 0.03:
        return float(round(rate))
    return round(rate, 1) if rate > 1 else float(f"{rate:.2g}")


def continuous_ranges(stamps_T: np.ndarray) -> list[TimeRange]:
    """Return the ranges of a recording without gaps in time."""
    ends = [frame for frame, _ in find_gaps((stamps_T - stamps_T[0]) * 1e-9)]
    firsts, lasts = stamps_T[[0, *(end + 1 for end in ends)]], stamps_T[[*ends, -1]]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def intersect_ranges(recordings: Iterable[list[TimeRange]]) -> list[TimeRange]:
    """Return the ranges that all recordings have, in order."""
    first, *others = recordings
    for parts in others:
        both = ((max(a, c), min(b, d)) for a, b in first for c, d in parts)
        first = [(start, end) for start, end in both if start <= end]
    return first


def total_seconds(parts: Iterable[TimeRange]) -> float:
    return sum(end - start for start, end in parts) * 1e-9


def resample(stamps_T: np.ndarray, start: int, end: int, fps: float) -> np.ndarray:
    """Return the message nearest to each time of a grid from `start` (ns) to at most half a step after `end`."""
    seconds_T = (stamps_T - start) * 1e-9
    grid = np.arange(int((end - start) * 1e-9 * fps + 0.5) + 1) / fps
    return np.searchsorted((seconds_T[1:] + seconds_T[:-1]) / 2, grid, side="left")
