"""Tests whether a difference is real: paired differences with a bootstrap interval and a sign test.

Clips of one episode are similar, so episodes are resampled and counted: the bootstrap draws whole episodes (the
cluster bootstrap; Davison & Hinkley 1997, §3.8), and the sign test takes one difference from each. Without given
episodes, each value is its own episode.

With few episodes a percentile interval is too narrow: it underestimates their spread by √((n − 1)/n), and uses a normal
distribution's quantiles. The interval is corrected by that factor and Student's t (Hesterberg 2015, "What teachers
should know about the bootstrap", §4.5.3). Means of groups that were subtracted before are counted too: n − 1
becomes n − 1 − groups, as in an analysis of covariance.
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
CONFIDENCE_LEVEL = 0.95
SEED = 0
MIN_EPISODES = 6
"""Fewest episodes for a verdict: with fewer, even a win in each has a two-sided sign test above 0.05."""
BLOCK_SIZE = 1 << 22

Verdict = Literal["better", "worse", "no difference shown", "too few clips to tell"]


@dataclass(frozen=True)
class MeanEstimate:
    """A mean over `n` clips of some episodes with its 95 % interval; None if there are too few."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    episodes: int


@dataclass(frozen=True)
class PairedComparison:
    """One candidate minus another on the same clips; positive is better.

    `win_rate` is wins / n, where a tie is not a win. `sign_p` is the two-sided sign test of the episodes without ties.
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
    estimated: int = 1,
) -> tuple[float, float]:
    """Return the 95 % interval of the (weighted) mean, from 10,000 resamples of episodes (Efron 1979), widened if few.

    `estimated` is the number of parameters that were estimated from these episodes: the mean itself, and the means that
    were subtracted from the values before. Raise ValueError unless there are more episodes than these, because the
    others have no spread.
    """
    sums, counts = _sum_by_episode(_existing_values(values, episodes, weights))
    n = sums.size
    if n <= estimated:
        raise ValueError(f"an interval needs {estimated + 1} episodes or more, not {n}")
    drawn = _cached_resamples(n, seed) if n * RESAMPLES <= BLOCK_SIZE else _draw_resamples(n, seed)
    equal_counts = float(counts[0]).is_integer() and bool(
        (counts == counts[0]).all()
    )  # then each resample has the same total
    means = np.concatenate(
        [(times_RN @ sums) / (n * counts[0] if equal_counts else times_RN @ counts) for times_RN in drawn]
    )
    tail = (1.0 - CONFIDENCE_LEVEL) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    mean, factor = float(sums.sum() / counts.sum()), _small_sample_factor(n, estimated)
    return mean - factor * (mean - float(low)), mean + factor * (float(high) - mean)


@cache
def _small_sample_factor(n: int, estimated: int) -> float:
    """Return the factor that widens the interval of `n` episodes, from which `estimated` parameters were estimated."""
    share, freedom = (1.0 + CONFIDENCE_LEVEL) / 2.0, n - estimated
    return float(stdtrit(freedom, share) / ndtri(share) * math.sqrt(n / freedom))


def _draw_resamples(n: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield how often each of n episodes is drawn in each resample, (R, N), in blocks of resamples."""
    rng = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, BLOCK_SIZE // n))
    for start in range(0, RESAMPLES, rows):
        picks = rng.integers(0, n, size=(min(rows, RESAMPLES - start), n))
        flat = (picks + n * np.arange(len(picks))[:, None]).ravel()
        yield np.bincount(flat, minlength=picks.size).reshape(picks.shape).astype(np.float64)


@lru_cache(maxsize=8)
def _cached_resamples(n: int, seed: int) -> list[npt.NDArray[np.float64]]:
    """Return the resamples of few episodes, which all metrics and candidates share."""
    return list(_draw_resamples(n, seed))


def estimate_mean(
    values: Sequence[float | None],
    episodes: Sequence[str] | None = None,
    seed: int = SEED,
    weights: Sequence[float] | None = None,
    estimated: int = 1,
) -> MeanEstimate:
    """Return mean and interval of the values that are not None; `n` and `episodes` count them.

    There is no interval unless the episodes are more than the `estimated` parameters (see `bootstrap_interval`).
    """
    known = _existing_values(values, episodes, weights)
    if not known:
        return MeanEstimate(None, None, None, 0, 0)
    numbers, episode_names, known_weights = zip(*known, strict=True)
    mean = math.fsum(value * weight for value, _, weight in known) / math.fsum(known_weights)
    count = len(set(episode_names))
    if count <= estimated:
        return MeanEstimate(mean, None, None, len(numbers), count)
    low, high = bootstrap_interval(numbers, episode_names, seed, known_weights, estimated)
    return MeanEstimate(mean, low, high, len(numbers), count)


def _existing_values(
    values: Sequence[float | None], episodes: Sequence[str] | None, weights: Sequence[float] | None
) -> list[tuple[float, str, float]]:
    """Return the values that are not None and have a weight above 0, with their episodes and weights."""
    named = episodes or [str(index) for index in range(len(values))]
    triples = zip(values, named, weights or [1.0] * len(values), strict=True)
    return [(value, episode, weight) for value, episode, weight in triples if value is not None and weight > 0]


def _sum_by_episode(
    known: Sequence[tuple[float, str, float]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the sums of each episode's values and of their weights, in order of first appearance."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for value, episode, weight in known:
        groups.setdefault(episode, []).append((value * weight, weight))
    sums = np.array([math.fsum(value for value, _ in group) for group in groups.values()], dtype=np.float64)
    return sums, np.array([math.fsum(weight for _, weight in group) for group in groups.values()], dtype=np.float64)


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact sign test, 1.0 without wins and losses."""
    if wins + losses == 0:
        return 1.0
    from scipy.stats import binomtest  # takes half a second, so import it only when needed

    return float(binomtest(wins, wins + losses).pvalue)


def compare_paired(
    candidate: Sequence[float | None],
    baseline: Sequence[float | None],
    episodes: Sequence[str] | None = None,
    seed: int = SEED,
    weights: Sequence[float] | None = None,
    estimated: int = 1,
) -> PairedComparison:
    """Compare two candidates clip by clip. A pair counts if neither value is None; weights apply to the mean.

    `estimated` is as in `bootstrap_interval`.

    Raise ValueError if the lengths differ.
    """
    pairs = list(zip(candidate, baseline, strict=True))
    differences = [None if a is None or b is None else a - b for a, b in pairs]
    gain = estimate_mean(differences, episodes, seed, weights, estimated)
    known = _existing_values(differences, episodes, weights)
    wins, losses = sum(d > 0 for d, _, _ in known), sum(d < 0 for d, _, _ in known)
    sums, _ = _sum_by_episode(known)
    return PairedComparison(
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


def _verdict(gain: MeanEstimate) -> Verdict:
    if gain.episodes < MIN_EPISODES or gain.low is None or gain.high is None:
        return "too few clips to tell"
    if gain.low <= 0.0 <= gain.high:
        return "no difference shown"
    return "better" if gain.low > 0 else "worse"
