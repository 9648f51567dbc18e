"""Time two ways to compute the same thing in turn: on a noisy machine only their ratio is meaningful."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

ROUNDS = 10
Work = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """Medians in seconds, and the median over rounds of plain / fast."""

    plain: float
    fast: float
    speedup: float


def time_in_turn(plain: Work, fast: Work, rounds: int = ROUNDS) -> Ratio:
    """Call each once without timing, then time `rounds` of plain and fast, in alternating order."""
    seconds: dict[Work, list[float]] = {plain: [], fast: []}
    plain(), fast()
    for number in range(rounds):
        for work in (plain, fast) if number % 2 else (fast, plain):
            seconds[work].append(timed(work))
    pairs = zip(seconds[plain], seconds[fast], strict=True)
    return Ratio(median(seconds[plain]), median(seconds[fast]), median(slow / quick for slow, quick in pairs))


def timed(work: Work) -> float:
    """Return the seconds of a call, with its work on a GPU."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
