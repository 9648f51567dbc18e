"""From messages that come when they come to frames at a fixed rate.

Shapes: T messages.
"""

from collections.abc import Iterable

import numpy as np

from worldtune.episodes.windows import jumps

Part = tuple[int, int]
"""The times in ns of a first and a last message."""


def rate_of(stamps_T: np.ndarray) -> float:
    """Pictures a second, to the nearest whole number if within 3 %, else to a tenth, below one to two digits.

    Stamps jitter and pictures get lost: a step is as many as it is long in median steps; after longer ones all stood
    still, and they do not count.
    """
    steps = np.diff(stamps_T)
    median = float(np.median(steps))
    near = steps[steps < 3.5 * median]
    rate = 1e9 * float(np.round(near / median).sum() / near.sum())
    if abs(rate / max(round(rate), 1) - 1) < 0.03:
        return float(round(rate))
    return round(rate, 1) if rate > 1 else float(f"{rate:.2g}")


def stretches(stamps_T: np.ndarray) -> list[Part]:
    """The parts of a recording within which time does not jump."""
    ends = [frame for frame, _ in jumps((stamps_T - stamps_T[0]) * 1e-9)]
    firsts, lasts = stamps_T[[0, *(end + 1 for end in ends)]], stamps_T[[*ends, -1]]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def shared(recordings: Iterable[list[Part]]) -> list[Part]:
    """What all recordings have, in order."""
    first, *others = recordings
    for parts in others:
        both = ((max(a, c), min(b, d)) for a, b in first for c, d in parts)
        first = [(start, end) for start, end in both if start <= end]
    return first


def seconds(parts: Iterable[Part]) -> float:
    return sum(end - start for start, end in parts) * 1e-9


def resample(stamps_T: np.ndarray, start: int, end: int, fps: float) -> np.ndarray:
    """For each time of a grid from `start` (ns) to at most half a step after `end`, the message nearest to it."""
    seconds_T = (stamps_T - start) * 1e-9
    grid = np.arange(int((end - start) * 1e-9 * fps + 0.5) + 1) / fps
    return np.searchsorted((seconds_T[1:] + seconds_T[:-1]) / 2, grid, side="left")
