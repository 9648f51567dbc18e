"""Is a difference real? Paired differences with a bootstrap interval and a sign test.

Clips are resampled as if independent of each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
ENOUGH = 6
"""Fewest pairs for a verdict: below six even a clean sweep has a two-sided sign test above 0.05."""
BLOCK = 1 << 22

Verdict = Literal["better", "worse", "no difference shown", "too few clips to tell"]


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its 95 % interval; nulls where there are too few clips for one."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """One candidate minus another on the same clips; positive is better.

    `win_rate` is wins / n, a tie is not a win; `sign_p` is the two-sided sign test with ties left out.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    wins: int
    losses: int
    ties: int
    win_rate: float | None
    sign_p: float | None
    verdict: Verdict


def bootstrap_interval(values: Sequence[float], seed: int = SEED) -> tuple[float, float]:
    """The 95 % percentile interval of the mean, from 10,000 resamples (Efron 1979).

    Raises ValueError for fewer than two values: one value has no spread to resample.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = sample.size
    if n < 2:
        raise ValueError(f"an interval needs two values or more, not {n}")
    rng = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, BLOCK // n))
    means: list[npt.NDArray[np.float64]] = []
    for start in range(0, RESAMPLES, rows):
        picks = rng.integers(0, n, size=(min(rows, RESAMPLES - start), n))
        means.append(sample[picks].mean(axis=1))
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail])
    return float(low), float(high)


def estimate(values: Sequence[float | None], seed: int = SEED) -> Estimate:
    """Mean and interval of the values that exist; `n` says how many they were."""
    known = [value for value in values if value is not None]
    mean = math.fsum(known) / len(known) if known else None
    low, high = bootstrap_interval(known, seed) if len(known) >= 2 else (None, None)
    return Estimate(mean, low, high, len(known))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact sign test: the chance of a split at least this uneven when both are equally good."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2.0 * tail / 2**n)


def paired(candidate: Sequence[float | None], against: Sequence[float | None], seed: int = SEED) -> Paired:
    """Compare two candidates clip by clip; a pair counts when both values exist.

    Raises ValueError when the lengths differ.
    """
    pairs = [(a, b) for a, b in zip(candidate, against, strict=True) if a is not None and b is not None]
    differences = [a - b for a, b in pairs]
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    n = len(differences)
    gain = estimate(differences, seed)
    return Paired(
        mean=gain.mean,
        low=gain.low,
        high=gain.high,
        n=n,
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
        win_rate=wins / n if n else None,
        sign_p=sign_test(wins, losses) if n else None,
        verdict=_verdict(gain),
    )


def _verdict(gain: Estimate) -> Verdict:
    if gain.n < ENOUGH or gain.low is None or gain.high is None:
        return "too few clips to tell"
    if gain.low <= 0.0 <= gain.high:
        return "no difference shown"
    return "better" if gain.low > 0 else "worse"
