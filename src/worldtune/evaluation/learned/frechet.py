"""The Fréchet distance between two sets of features, with an interval, or refused where the sets are small.

Shapes: N and M items, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

Features = npt.NDArray[np.float64]
LEAST = 32  # episodes: with fewer the distance is mostly that of the sets' sizes, and with few more still partly
RESAMPLES = 200
TAIL = 0.025


@dataclass(frozen=True)
class Distance:
    """Between a candidate's videos and the real ones, over `n` clips; a null value has its reason in `why`.

    `metric` names what the features are of, `weights` the digest of the model that finds them.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    metric: str
    candidate: str
    weights: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    why: str | None


def frechet(one_ND: Features, other_MD: Features) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½), of the normal distributions fitted to each (Heusel et al. 2017, eq. 6).

    The last trace is the sum of the singular values of the centred features' product, exact and small where the items
    are fewer than the features.
    """
    means = one_ND.mean(0), other_MD.mean(0)
    a_ND, b_MD = ((x - mean) / np.sqrt(len(x) - 1) for x, mean in zip((one_ND, other_MD), means, strict=True))
    shared = np.linalg.svd(a_ND @ b_MD.T, compute_uv=False).sum()
    distance = np.square(means[0] - means[1]).sum() + np.square(a_ND).sum() + np.square(b_MD).sum() - 2 * shared
    return max(0.0, float(distance))


def enough(episodes: Sequence[str]) -> bool:
    """Are clips of these episodes enough for a distance?"""
    return len(set(episodes)) >= LEAST


def measure(
    metric: str,
    candidate: str,
    weights: str,
    made: Sequence[Features],
    real: Sequence[Features],
    episodes: Sequence[str],
    seed: int = 0,
) -> Distance:
    """Of the features (N, D) of each clip of the `episodes`, made and real in the same order; of too few, of none.

    Whole episodes are resampled together.

    Few clips make the distance larger, and resampling them larger once more by about as much: that is taken from the
    value, and the interval is the basic one, which turns it round (Davison & Hinkley 1997, §2.1.1 and §5.2.1).
    """
    n, count = len(episodes), len(set(episodes))
    if not enough(episodes):
        why = f"{count} episodes, {LEAST} are needed"
        return Distance(metric, candidate, weights, n, None, None, None, why)
    value = frechet(np.concatenate(made), np.concatenate(real))
    groups = [[place for place, each in enumerate(episodes) if each == name] for name in dict.fromkeys(episodes)]
    draw = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        picks = [place for group in draw.integers(0, count, count) for place in groups[group]]
        drawn.append(frechet(*(np.concatenate([clips[place] for place in picks]) for clips in (made, real))))
    edges = [*np.quantile(drawn, [1 - TAIL, TAIL]).tolist(), float(np.mean(drawn))]
    low, high, middle = (max(0.0, 2 * value - edge) for edge in edges)
    return Distance(metric, candidate, weights, n, middle, low, high, None)
