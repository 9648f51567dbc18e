"""Which frames of an episode make a clip: retiming to the target rate, then windows."""

from fractions import Fraction
from math import floor


def retime(frames: int, fps_in: float, fps_out: float) -> list[int]:
    """The source frame nearest to each target time k / fps_out, for every k the episode covers.

    Source frame i stands for the times (i - ½)/fps_in … (i + ½)/fps_in. Exact rational arithmetic:
    equal rates give 0, 1, 2, … and no clip is lost to rounding. Slower sources repeat frames.
    """
    step = _exact(fps_in) / _exact(fps_out)
    picks: list[int] = []
    while (pick := floor(len(picks) * step + Fraction(1, 2))) < frames:
        picks.append(pick)
    return picks


def _exact(fps: float) -> Fraction:
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
