"""The Fréchet distance between two sets of features with its interval. It is not computed for small sets.

Shapes: N and M items, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

Features = npt.NDArray[np.float64]
MIN_EPISODES = 32  # with fewer, the distance mostly reflects the sizes of the sets; with a few more, still in part
RESAMPLES = 200
TAIL_PROBABILITY = 0.025


@dataclass(frozen=True)
class Distance:
    """The distance between a candidate's videos and the real ones, over `n` clips. If `value` is None, `why` says why.

    `metric` names the kind of features; `weights` is the digest of the model that extracts them.
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


def frechet(first_ND: Features, second_MD: Features) -> float:
    """Return |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) of the fitted normal distributions (Heusel et al. 2017, eq. 6).

    The trace of (ΣΣ')^½ is the sum of the singular values of the product of the centered features. This is exact, and
    the product is small if there are fewer items than features.
    """
    means = first_ND.mean(0), second_MD.mean(0)
    a_ND, b_MD = ((x - mean) / np.sqrt(len(x) - 1) for x, mean in zip((first_ND, second_MD), means, strict=True))
    shared = np.linalg.svd(a_ND @ b_MD.T, compute_uv=False).sum()
    distance = np.square(means[0] - means[1]).sum() + np.square(a_ND).sum() + np.square(b_MD).sum() - 2 * shared
    return max(0.0, float(distance))


def has_enough_episodes(episodes: Sequence[str]) -> bool:
    """Return whether clips of these episodes are enough for a distance."""
    return len(set(episodes)) >= MIN_EPISODES


def measure_distance(
    metric: str,
    candidate: str,
    weights: str,
    generated: Sequence[Features],
    real: Sequence[Features],
    episodes: Sequence[str],
    seed: int = 0,
) -> Distance:
    """Return the distance between the features (N, D) of generated and real clips, in the order of their `episodes`.

    With too few episodes the value is None. The bootstrap resamples whole episodes. Few clips bias the distance upward,
    and resampling biases it again by about the same amount. This amount is subtracted from the value, and the interval
    is the basic bootstrap interval (Davison & Hinkley 1997, §2.1.1 and §5.2.1).
    """
    n, count = len(episodes), len(set(episodes))
    if not has_enough_episodes(episodes):
        why = f"only {count} of {MIN_EPISODES} required episodes"
        return Distance(metric, candidate, weights, n, None, None, None, why)
    value = frechet(np.concatenate(generated), np.concatenate(real))
    groups = [[index for index, episode in enumerate(episodes) if episode == name] for name in dict.fromkeys(episodes)]
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(RESAMPLES):
        indices = [index for group in rng.integers(0, count, count) for index in groups[group]]
        resampled.append(frechet(*(np.concatenate([clips[index] for index in indices]) for clips in (generated, real))))
    edges = [*np.quantile(resampled, [1 - TAIL_PROBABILITY, TAIL_PROBABILITY]).tolist(), float(np.mean(resampled))]
    low, high, corrected = (max(0.0, 2 * value - edge) for edge in edges)
    return Distance(metric, candidate, weights, n, corrected, low, high, None)
