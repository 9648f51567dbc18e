"""Recordings whose actions as a whole are in another unit, have two columns swapped or do not follow the states.

Only specific hypotheses are tested. A recording that merely differs from the others is not odd. It is odd if it would
resemble them in another unit or with two columns swapped.

Shapes: N recordings, L levels of a quantile, A action dimensions.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from worldtune.data.curation.trajectories import Trajectory

LEAVE_ONE_OUT_MAX = 20  # recordings: up to this number, each is compared with a norm that does not include it
MIN_FOR_VALUES = 8  # recordings: from this number on, its values tell a column from another
FOLLOW_TOLERANCE = 0.15  # of the range: an action follows its state if it lies nearer
UNIT_FACTORS = {"180/π": 180 / np.pi, "π/180": np.pi / 180, "1000": 1e3, "1/1000": 1e-3, "100": 100.0, "1/100": 0.01}
IDLE_SHARE = 0.25  # of the least motion of any other recording: one that moves less may be in another unit
MIN_LARGE_RANGES = 3.0  # ranges from the others: nearer values are not in a larger unit


def find_odd_recordings(trajectories: Sequence[Trajectory], rank: int) -> list[str]:
    """Return what is odd about each recording, or "". A thing is usual if `rank` other recordings do it."""
    if len(trajectories) > LEAVE_ONE_OUT_MAX:
        norm = ReferenceMotion(trajectories, rank + 1)
        return [next(norm.find_oddities(trajectory), "") for trajectory in trajectories]
    others = [[other for other in trajectories if other is not trajectory] for trajectory in trajectories]
    return [
        next(ReferenceMotion(references, rank).find_oddities(trajectory), "")
        for trajectory, references in zip(trajectories, others, strict=True)
    ]


class ReferenceMotion:
    """What recordings have in common."""

    def __init__(self, trajectories: Sequence[Trajectory], rank: int) -> None:
        self._rank, self._count = rank, len(trajectories)
        levels_NLA = np.stack([trajectory.levels for trajectory in trajectories])
        self._middle_LA = np.median(levels_NLA, axis=0)
        low = np.quantile(levels_NLA[:, 0], 0.1, axis=0, method="lower")
        high = np.quantile(levels_NLA[:, -1], 0.9, axis=0, method="higher")
        self._range_A = np.where(high > low, high - low, np.nan)  # a resting dimension is ignored
        self._usual_deviation_A = self._usual_largest(
            np.stack([self._deviation(levels_LA) for levels_LA in levels_NLA])
        )
        self._usual_deviation = self._usual_largest(
            np.array([_median(self._deviation(levels_LA)) for levels_LA in levels_NLA])
        )
        self._least_motion = -self._usual_largest(-np.array([self._motion(levels_LA) for levels_LA in levels_NLA]))
        distances = [self._state_distances(trajectory) for trajectory in trajectories]
        self._usual_distance_A = (
            None
            if any(distance_A is None for distance_A in distances)
            else self._usual_follow_distance(np.stack(distances))  # type: ignore[arg-type]
        )

    def _usual_largest(self, values_N: np.ndarray) -> np.ndarray:
        """Return the largest usual value over the first axis."""
        return np.asarray(-np.sort(-values_N, axis=0)[min(self._rank, len(values_N)) - 1])

    def _usual_follow_distance(self, distance_NA: np.ndarray) -> np.ndarray:
        """Return (A,): the usual largest distance of actions from their states, NaN if an action does not follow."""
        return np.where(np.median(distance_NA, axis=0) < FOLLOW_TOLERANCE, self._usual_largest(distance_NA), np.nan)

    def _state_distances(self, trajectory: Trajectory) -> np.ndarray | None:
        return None if trajectory.state_distance is None else np.diagonal(trajectory.state_distance) / self._range_A

    def _deviation(self, levels_LA: np.ndarray) -> np.ndarray:
        """Return (A,): how far quantiles lie from the usual ones, in ranges."""
        return np.asarray(np.abs(levels_LA - self._middle_LA).mean(0) / self._range_A)

    def _motion(self, levels_LA: np.ndarray) -> float:
        """Return the share of the usual range that a recording covers, as the median of its dimensions."""
        return _median((levels_LA[-1] - levels_LA[0]) / self._range_A)

    def find_oddities(self, trajectory: Trajectory) -> Iterator[str]:
        if (pair := self.find_swapped_columns(trajectory)) is not None:
            yield f"dimensions {pair[0]} and {pair[1]} are swapped: each is like the other one in the other recordings"
        if factor := self.find_unit(trajectory.levels):
            yield f"another unit: multiplied by {factor}, the actions are like the other recordings"
        mismatched, total = self.count_mismatched(trajectory)
        if mismatched > max(1, total / 2):
            yield f"{mismatched} of {total} dimensions do not follow the states as in the other recordings"

    def find_swapped_columns(self, trajectory: Trajectory) -> tuple[int, int] | None:
        """Return two columns that are exchanged, by the states that they follow or by their values, or None."""
        if trajectory.state_distance is not None and self._usual_distance_A is not None:
            distance_AA, usual_A = trajectory.state_distance / self._range_A, np.maximum(self._usual_distance_A, 0.01)
            found = _find_exchanged_pair(distance_AA, usual_A) or _find_taken_column(distance_AA, usual_A)
            if found is not None:
                return found
        if self._count < MIN_FOR_VALUES:
            return None
        deviation_LAA = trajectory.levels[:, :, None] - self._middle_LA[:, None, :]
        return _find_exchanged_pair(
            np.abs(deviation_LAA).mean(0) / self._range_A, np.maximum(self._usual_deviation_A, 0.05)
        )

    def find_unit(self, levels_LA: np.ndarray) -> str:
        """Return the factor that would make a recording like the others, "" if none does."""
        usual, own, motion = float(self._usual_deviation), _median(self._deviation(levels_LA)), self._motion(levels_LA)
        for name, factor in UNIT_FACTORS.items():
            rescaled = _median(self._deviation(factor * levels_LA))
            smaller = (own > usual and rescaled < 0.5 * own) or motion < IDLE_SHARE * self._least_motion
            larger = own > max(2 * usual, MIN_LARGE_RANGES)
            if (
                (smaller if factor > 1 else larger)
                and rescaled <= 1.5 * usual
                and factor * motion >= 0.5 * self._least_motion > 0
            ):
                return name
        return ""

    def count_mismatched(self, trajectory: Trajectory) -> tuple[int, int]:
        """Return how many dimensions are far from the states that they follow in others, and how many follow there."""
        distance_A = self._state_distances(trajectory)
        if distance_A is None or self._usual_distance_A is None:
            return 0, 0
        return int((distance_A > np.maximum(3 * self._usual_distance_A, FOLLOW_TOLERANCE)).sum()), int(
            np.isfinite(self._usual_distance_A).sum()
        )


def _median(values_A: np.ndarray) -> float:
    known = values_A[~np.isnan(values_A)]  # as np.nanmedian, in half its time
    return float(np.median(known)) if np.isfinite(known).any() else 0.0


def _find_exchanged_pair(cost_AA: np.ndarray, usual_A: np.ndarray) -> tuple[int, int] | None:
    """Return the columns that are unusual in their own place and usual in each other's, or None."""
    distance_A = np.diagonal(cost_AA)
    here_AA, usual_AA, there_AA = distance_A[:, None] + distance_A, usual_A[:, None] + usual_A, cost_AA + cost_AA.T
    found_AA = (here_AA > 1.5 * usual_AA) & (there_AA <= 2 * usual_AA) & (here_AA > 3 * there_AA)
    if not found_AA.any():
        return None
    a, b = np.unravel_index(np.argmax(np.where(found_AA, here_AA - there_AA, -1)), found_AA.shape)
    return int(min(a, b)), int(max(a, b))


def _find_taken_column(cost_AA: np.ndarray, usual_A: np.ndarray) -> tuple[int, int] | None:
    """Return the pair as `_find_exchanged_pair` does, if only one of the two usually follows its state."""
    distance_A, follows_A = np.diagonal(cost_AA), np.isfinite(usual_A)
    mismatched_A = distance_A > np.maximum(3 * usual_A, FOLLOW_TOLERANCE)
    found_AA = mismatched_A & ~follows_A[:, None] & (cost_AA <= 2 * usual_A)
    if not found_AA.any():
        return None
    b, a = np.unravel_index(np.argmin(np.where(found_AA, cost_AA, np.inf)), found_AA.shape)
    return int(min(a, b)), int(max(a, b))
