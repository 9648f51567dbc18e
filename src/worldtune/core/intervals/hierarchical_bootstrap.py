"""The interval of a mean over demonstration draws › policy seeds › resets, and of a paired difference between arms.

A replicate draws demonstration sets with replacement, then policy seeds within each drawn set (Davison & Hinkley 1997,
"Bootstrap Methods and their Application", §3.8), then resets. All policies are evaluated from the same resets, so a
replicate draws one set of resets for all of them (resets are crossed with policies, not nested: Owen 2007, "The
pigeonhole bootstrap").

Caution: two to five draws say little about the spread over draws. Percentiles of so few are too narrow, so the interval
is stretched about the mean: its standard error counts the spread over draws with n − 1, and its quantile is Student's t
with Satterthwaite's degrees of freedom, which are near the number of draws if the draws differ most, and near the
number of resets if the resets do. With one draw the interval describes that draw only, and with one seed that policy.

Shapes: D draws, S seeds, R resets, N replicates.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from worldtune.core.statistics import CONFIDENCE_LEVEL, SEED

REPLICATES = 4000
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HierarchicalEstimate:
    """A mean with its 95 % interval, and how many draws, seeds a draw and resets it rests on.

    `interval_covers` names the levels with more than one unit: the interval says nothing about the other levels.
    """

    mean: float
    low: float
    high: float
    draws: int
    seeds: int
    resets: int
    interval_covers: tuple[str, ...]


def estimate_success(success_DSR: npt.ArrayLike) -> HierarchicalEstimate:
    """Return the mean success with its interval, inside [0, 1]. Raise ValueError as `hierarchical_interval` does."""
    return _estimate(np.asarray(success_DSR, np.float64), 0.0, 1.0)


def estimate_difference(success_DSR: npt.ArrayLike, other_DSR: npt.ArrayLike) -> HierarchicalEstimate:
    """Return the mean success of an arm minus that of another, over the same draws, seeds and resets.

    Raise ValueError if the shapes differ, and as `hierarchical_interval` does.
    """
    first, other = np.asarray(success_DSR, np.float64), np.asarray(other_DSR, np.float64)
    if first.shape != other.shape:
        raise ValueError(f"a paired difference needs equal shapes, not {first.shape} and {other.shape}")
    return _estimate(first - other, -1.0, 1.0)


def _estimate(values_DSR: Array, least: float, most: float) -> HierarchicalEstimate:
    low, high = hierarchical_interval(values_DSR)
    draws, seeds, resets = values_DSR.shape
    covers = tuple(name for name, size in (("draws", draws), ("seeds", seeds), ("resets", resets)) if size > 1)
    mean = float(values_DSR.mean())
    return HierarchicalEstimate(mean, max(low, least), min(high, most), draws, seeds, resets, covers)


def hierarchical_interval(values_DSR: Array, seed: int = SEED) -> tuple[float, float]:
    """Return the 95 % interval of the mean of values (D, S, R).

    Raise ValueError if the array is not (D, S, R), is empty or has NaN, or if no level has two units.
    """
    if values_DSR.ndim != 3 or values_DSR.size < 2 or not np.isfinite(values_DSR).all():
        raise ValueError(f"finite values of shape (draws, seeds, resets) are needed, not {values_DSR.shape}")
    means_N = _replicates(values_DSR, np.random.default_rng(seed))
    tail = (1.0 - CONFIDENCE_LEVEL) / 2.0
    low, high = np.quantile(means_N, [tail, 1.0 - tail])
    mean, factor = float(values_DSR.mean()), _stretch(values_DSR, float(means_N.std()))
    return mean - factor * (mean - float(low)), mean + factor * (float(high) - mean)


def _replicates(values_DSR: Array, rng: np.random.Generator) -> Array:
    """Return the mean of each replicate, (N,)."""
    draws, seeds, resets = values_DSR.shape
    draws_ND = rng.multinomial(draws, np.full(draws, 1 / draws), REPLICATES)
    seeds_NDS = rng.multinomial(draws_ND * seeds, np.full(seeds, 1 / seeds))
    resets_NR = rng.multinomial(resets, np.full(resets, 1 / resets), REPLICATES)
    by_policy_NP = resets_NR @ values_DSR.reshape(-1, resets).T
    sums_N = (by_policy_NP * seeds_NDS.reshape(REPLICATES, -1)).sum(1)
    return sums_N / values_DSR.size


def _stretch(values_DSR: Array, bootstrap_error: float) -> float:
    """Return the factor, at least 1, that widens the percentile interval for few draws, seeds or resets."""
    training = values_DSR.mean((1, 2)) if values_DSR.shape[0] > 1 else values_DSR.mean(2).ravel()
    variances = [
        (float(means.var(ddof=1)) / means.size, means.size - 1)
        for means in (training, values_DSR.mean((0, 1)))
        if means.size > 1
    ]
    variance = sum(part for part, _ in variances)
    if variance == 0 or bootstrap_error == 0:
        return 1.0
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in variances)
    share = (1.0 + CONFIDENCE_LEVEL) / 2.0
    return max(1.0, float(stdtrit(freedom, share)) * math.sqrt(variance) / (float(ndtri(share)) * bootstrap_error))
