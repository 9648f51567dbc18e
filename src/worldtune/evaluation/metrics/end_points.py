"""End points of motions about their mean over the layouts of a task.

The motion that all layouts of a task share dominates a slope of displacements, so a model that draws every layout's
motion toward the mean motion can have a slope of displacements near 1. The deviations of the end points from their mean
do not contain the shared motion. Their slope is the pooled slope within groups of an analysis of covariance (Fisher
1932, §49.1); it is 0 if all layouts get the same motion.

Shape letters: N clips, D axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
MAX_ERROR_OVER_SPREAD: Final = 0.6
"""The largest error over spread at which dreams may be tried in a policy. A hypothesis from three points: dreams of one
task each with 0.39 and 0.47 helped a policy, and dreams with 0.78 did not."""


@dataclass(frozen=True, eq=False)
class EndPointTerms:
    """The terms of each clip; their sums over clips give the statistics.

    `along_ND` is the product of the deviations read · true, `square_ND` the true deviation squared. Both are 0 in axes
    that do not vary in the clip's group. `error_N` and `distance_N` are the distances of the read end point from the
    true one, and of the true one from its group's mean, times √(n / (n − 1)) for n clips: a mean of few clips lies too
    near to them. `counts_N` is False for groups of one clip, and for groups
    without an axis that varies: their layouts cannot be told apart.
    """

    along_ND: Points
    square_ND: Points
    error_N: Points
    distance_N: Points
    counts_N: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EndPointStatistics:
    """Slopes about the mean, and distances in the unit of the points, over `clips` clips in `groups` groups.

    `clips` and `groups` are those that count. `slope` covers the axes that vary; `slope_by_axis` is None for an axis
    that varies in no group. `error` is the mean distance of the read end points from the true ones over the clips that
    count, `spread` the mean distance of the true end points from the mean of their group, corrected as in
    `EndPointTerms`. Everything is None if no group counts.
    """

    slope: float | None
    slope_by_axis: tuple[float | None, ...]
    error: float | None
    spread: float | None
    error_over_spread: float | None
    clips: int
    groups: int


def end_point_terms(
    read_ND: npt.ArrayLike, true_ND: npt.ArrayLike, groups: Sequence[str], min_spread_D: npt.ArrayLike = 0.0
) -> EndPointTerms:
    """Return the terms of each clip. `groups` names the task (and camera) of each clip, whose mean is subtracted.

    An axis varies in a group if the root mean square deviation of its true end points is greater than `min_spread_D`.
    Raise ValueError if the shapes differ, there is no clip, or a number is not finite.
    """
    read, true = np.asarray(read_ND, np.float64), np.asarray(true_ND, np.float64)
    if read.shape != true.shape or read.ndim != 2 or len(read) != len(groups) or not len(read):
        raise ValueError(f"end points of shapes {read.shape} and {true.shape} for {len(groups)} clips")
    if not (np.isfinite(read).all() and np.isfinite(true).all()):
        raise ValueError("an end point contains NaN or infinity")
    names, group_N = np.unique(np.asarray(groups), return_inverse=True)
    count_G1 = np.bincount(group_N)[:, None]
    read_deviation_ND, true_deviation_ND = (
        points - (_sum_by_group(points, group_N, len(names)) / count_G1)[group_N] for points in (read, true)
    )
    spread_GD = np.sqrt(_sum_by_group(true_deviation_ND**2, group_N, len(names)) / count_G1)
    # Rounding leaves tiny deviations where all end points are equal.
    rounding_GD = 1e-12 * np.sqrt(_sum_by_group(true**2, group_N, len(names)) / count_G1)
    varies_GD = (count_G1 > 1) & (spread_GD > np.maximum(np.asarray(min_spread_D, np.float64), rounding_GD))
    varies_ND = varies_GD[group_N]
    few_G = np.sqrt(count_G1[:, 0] / np.maximum(count_G1[:, 0] - 1, 1))
    return EndPointTerms(
        along_ND=np.where(varies_ND, read_deviation_ND * true_deviation_ND, 0.0),
        square_ND=np.where(varies_ND, true_deviation_ND**2, 0.0),
        error_N=np.linalg.norm(read - true, axis=1),
        distance_N=np.linalg.norm(true_deviation_ND, axis=1) * few_G[group_N],
        counts_N=np.asarray(varies_ND.any(1)),
    )


def end_point_statistics(
    read_ND: npt.ArrayLike, true_ND: npt.ArrayLike, groups: Sequence[str], min_spread_D: npt.ArrayLike = 0.0
) -> EndPointStatistics:
    """Return the slopes about the mean, and the error over the spread of layouts, of all groups together.

    `read_ND` are end points read from generated videos, `true_ND` those of the real motions of the same layouts, in the
    same unit. Give the reader's own error by axis as `min_spread_D`: an axis whose spread is below it has no slope.
    Raise ValueError as `end_point_terms` does.
    """
    terms = end_point_terms(read_ND, true_ND, groups, min_spread_D)
    counts_N = terms.counts_N
    along_D, square_D = terms.along_ND.sum(0), terms.square_ND.sum(0)
    slope_by_axis = tuple(
        float(along / square) if square > 0 else None for along, square in zip(along_D, square_D, strict=True)
    )
    if not counts_N.any():
        return EndPointStatistics(None, slope_by_axis, None, None, None, 0, 0)
    error, spread = float(terms.error_N[counts_N].mean()), float(terms.distance_N[counts_N].mean())
    return EndPointStatistics(
        slope=float(along_D.sum() / square_D.sum()),
        slope_by_axis=slope_by_axis,
        error=error,
        spread=spread,
        error_over_spread=error / spread,
        clips=int(counts_N.sum()),
        groups=len(set(np.asarray(groups)[counts_N])),
    )


def _sum_by_group(values_ND: Points, group_N: npt.NDArray[np.intp], groups: int) -> Points:
    """Return the sums of the rows of each group, (G, D)."""
    sums_GD = np.zeros((groups, values_ND.shape[1]))
    np.add.at(sums_GD, group_N, values_ND)
    return sums_GD
