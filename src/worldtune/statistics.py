"""Is a difference real? Paired differences with a bootstrap interval and a sign test.

Clips of one episode are alike, so episodes are what is drawn and counted: the bootstrap resamples them whole
(the cluster bootstrap; Davison & Hinkley 1997, §3.8), and the sign test takes one difference from each. Where no
episodes are given, each value is one of its own.

With few episodes a percentile interval is too narrow: their spread is underestimated by √((n − 1)/n), and its ends are
those of a normal distribution. Both are made good, by that factor and Student's t (Hesterberg 2015, "What teachers
should know about the bootstrap", §4.5.3).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
ENOUGH = 6
"""Fewest episodes for a verdict: below six even a clean sweep has a two-sided sign test above 0.05."""
BLOCK = 1 << 22

Verdict = Literal["better", "worse", "no difference shown", "too few clips to tell"]


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` clips of some episodes with its 95 % interval; nulls where there are too few for one."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    episodes: int


@dataclass(frozen=True)
class Paired:
    """One candidate minus another on the same clips; positive is better.

    `win_rate` is wins / n, a tie is not a win; `sign_p` is the two-sided sign test of the episodes, ties left out.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    episodes: int
    wins: int
    losses: int
    ties: int
    win_rate: float | None
    sign_p: float | None
    verdict: Verdict


def bootstrap_interval(
    values: Sequence[float],
    episodes: Sequence[str] | None = None,
    seed: int = SEED,
    weights: Sequence[float] | None = None,
) -> tuple[float, float]:
    """The 95 % interval of the (weighted) mean, from 10,000 resamples of the episodes (Efron 1979), widened for few.

    Raises ValueError for fewer than two episodes: one has no spread to resample.
    """
    sums, counts = _by_episode(_known(values, episodes, weights))
    n = sums.size
    if n < 2:
        raise ValueError(f"an interval needs two episodes or more, not {n}")
    drawn = _few_drawn(n, seed) if n * RESAMPLES <= BLOCK else _drawn(n, seed)
    alike = float(counts[0]).is_integer() and bool((counts == counts[0]).all())  # then each resample has as many
    means = np.concatenate([(times_RN @ sums) / (n * counts[0] if alike else times_RN @ counts) for times_RN in drawn])
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    mean, wider = float(sums.sum() / counts.sum()), _widening(n)
    return mean - wider * (mean - float(low)), mean + wider * (float(high) - mean)


@cache
def _widening(n: int) -> float:
    """How much wider the interval of so few episodes is."""
    share = (1.0 + LEVEL) / 2.0
    return float(stdtrit(n - 1, share) / ndtri(share) * math.sqrt(n / (n - 1)))


def _drawn(n: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each of n episodes is drawn in each resample, (R, N), some resamples at once."""
    rng = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, BLOCK // n))
    for start in range(0, RESAMPLES, rows):
        picks = rng.integers(0, n, size=(min(rows, RESAMPLES - start), n))
        flat = (picks + n * np.arange(len(picks))[:, None]).ravel()
        yield np.bincount(flat, minlength=picks.size).reshape(picks.shape).astype(np.float64)


@lru_cache(maxsize=8)
def _few_drawn(n: int, seed: int) -> list[npt.NDArray[np.float64]]:
    """Of few episodes, whose every metric and candidate asks for the same draws."""
    return list(_drawn(n, seed))


def estimate(
    values: Sequence[float | None],
    episodes: Sequence[str] | None = None,
    seed: int = SEED,
    weights: Sequence[float] | None = None,
) -> Estimate:
    """Mean and interval of the values that exist; `n` and `episodes` say how many they were."""
    known = _known(values, episodes, weights)
    if not known:
        return Estimate(None, None, None, 0, 0)
    numbers, theirs, their_weights = zip(*known, strict=True)
    mean = math.fsum(value * weight for value, _, weight in known) / math.fsum(their_weights)
    count = len(set(theirs))
    low, high = bootstrap_interval(numbers, theirs, seed, their_weights) if count >= 2 else (None, None)
    return Estimate(mean, low, high, len(numbers), count)


def _known(
    values: Sequence[float | None], episodes: Sequence[str] | None, weights: Sequence[float] | None
) -> list[tuple[float, str, float]]:
    """The values that exist, each with its episode and its weight, which is above 0."""
    named = episodes or [str(place) for place in range(len(values))]
    every = zip(values, named, weights or [1.0] * len(values), strict=True)
    return [(value, episode, weight) for value, episode, weight in every if value is not None and weight > 0]


def _by_episode(known: Sequence[tuple[float, str, float]]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sum of each episode's values and of their weights, in order of first appearance."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for value, episode, weight in known:
        groups.setdefault(episode, []).append((value * weight, weight))
    sums = np.array([math.fsum(value for value, _ in group) for group in groups.values()], dtype=np.float64)
    return sums, np.array([math.fsum(weight for _, weight in group) for group in groups.values()], dtype=np.float64)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact sign test: the chance of a split at least this uneven when both are equally good."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2.0 * tail / 2**n)


def paired(
    candidate: Sequence[float | None],
    against: Sequence[float | None],
    episodes: Sequence[str] | None = None,
    seed: int = SEED,
    weights: Sequence[float] | None = None,
) -> Paired:
    """Compare two candidates clip by clip; a pair counts when both values exist, in the mean by its weight.

    Raises ValueError when the lengths differ.
    """
    pairs = list(zip(candidate, against, strict=True))
    differences = [None if a is None or b is None else a - b for a, b in pairs]
    gain = estimate(differences, episodes, seed, weights)
    known = _known(differences, episodes, weights)
    wins, losses = sum(d > 0 for d, _, _ in known), sum(d < 0 for d, _, _ in known)
    sums, _ = _by_episode(known)
    return Paired(
        mean=gain.mean,
        low=gain.low,
        high=gain.high,
        n=gain.n,
        episodes=gain.episodes,
        wins=wins,
        losses=losses,
        ties=gain.n - wins - losses,
        win_rate=wins / gain.n if gain.n else None,
        sign_p=sign_test(int((sums > 0).sum()), int((sums < 0).sum())) if gain.n else None,
        verdict=_verdict(gain),
    )


def _verdict(gain: Estimate) -> Verdict:
    if gain.episodes < ENOUGH or gain.low is None or gain.high is None:
        return "too few clips to tell"
    if gain.low <= 0.0 <= gain.high:
        return "no difference shown"
    return "better" if gain.low > 0 else "worse"
