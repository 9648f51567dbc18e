"""Find actions that are wild, not merely rare.

A joint that rests in all other recordings may move in one, and a gripper may jump. Wild actions are a value that leaves
its trajectory and comes back as in no other recording, a value far outside the range of all others, a hold of all
joints that ends in a leap, and what `find_odd_recordings` finds. Each recording is compared only with the others.

Shapes: N recordings, A action dimensions.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from worldtune.data.curation.recording_outliers import find_odd_recordings
from worldtune.data.curation.trajectories import ActionExtremes, Trajectory

MIN_RECORDINGS = 4  # recordings needed before any is compared with the others
MAX_RANGES_OUTSIDE = 3.0  # of the others' range: how far outside of it a value may lie
SPIKE_FACTOR, STEP_FACTOR = (
    8.0,
    1.5,
)  # a spike may be this many times the others' largest spike and largest step ...
MIN_SPIKE_OF_RANGE = 0.25  # ... unless it is less than that of their range
BARELY_MOVES = 0.05  # of the usual range: a dimension whose range in the others is smaller barely moves there
LEAP_FACTOR = 3.0  # times a dimension's typical step: a longer step after a hold is a leap ...
MIN_LEAPING_SHARE = 0.25  # ... if this share of the moving dimensions leap together, and at least two


class OtherRecordings:
    """What the other recordings do, for each recording: arrays (N, A).

    low, high: the ends of their range. spike, step: their largest. span: the range of the recording itself.
    scale: their range, or half of a dimension's usual range if that is larger. barely_moving: their range is so small
    that it may be noise or a small unit.
    """

    def __init__(self, clips: Sequence[Sequence[ActionExtremes]], trajectories: Sequence[Trajectory]) -> None:
        self.rank = min(3, 1 + len(clips) // 50)  # a thing is usual if this many other recordings do it
        own_low = np.stack([np.min([clip.low for clip in clip_extremes], axis=0) for clip_extremes in clips])
        own_high = np.stack([np.max([clip.high for clip in clip_extremes], axis=0) for clip_extremes in clips])
        self.span = own_high - own_low
        self.low, self.high = -self._largest(-own_low), self._largest(own_high)
        self.spike = self._largest(
            np.stack([np.max([clip.spike for clip in clip_extremes], axis=0) for clip_extremes in clips])
        )
        self.step = self._largest(np.stack([trajectory.leap for trajectory in trajectories]))
        self.typical_A = np.median([trajectory.step for trajectory in trajectories], axis=0)
        self.range = np.maximum(self.high - self.low, 0)
        usual_N1 = np.stack([_typical_range(range_A) for range_A in self.range])[:, None]
        self.barely_moving = self.range <= BARELY_MOVES * usual_N1
        self.scale = np.where(self.barely_moving, self.range, np.maximum(self.range, 0.5 * usual_N1))

    def _largest(self, of_NA: np.ndarray) -> np.ndarray:
        """Return for each recording the largest value among the others; the second or third in large datasets."""
        ordered_NA = -np.sort(-of_NA, axis=0)
        within, without = ordered_NA[self.rank - 1], ordered_NA[min(self.rank, len(of_NA) - 1)]
        return np.where(of_NA >= within, without, within)


def _typical_range(range_A: np.ndarray) -> float:
    """Return the median over the dimensions that move, 0 if none does."""
    return float(np.median(range_A[range_A > 0])) if (range_A > 0).any() else 0.0


def find_action_outliers(
    trajectories: Sequence[Trajectory | None], all_extremes: Sequence[ActionExtremes | None]
) -> list[str]:
    """Return for each clip what is wild in its actions, or "". Clips of one episode share their trajectory's name.

    Recordings with the same number of dimensions are compared if there are at least four.
    """
    reasons = [""] * len(trajectories)
    groups: dict[int, dict[str, list[tuple[int, Trajectory, ActionExtremes]]]] = defaultdict(lambda: defaultdict(list))
    for number, (trajectory, extremes) in enumerate(zip(trajectories, all_extremes, strict=True)):
        if trajectory is not None and extremes is not None:
            groups[len(extremes.low)][trajectory.episode].append((number, trajectory, extremes))
    for by_episode in groups.values():
        if len(by_episode) < MIN_RECORDINGS:
            continue
        recordings = list(by_episode.values())
        firsts = [clips[0][1] for clips in recordings]
        others = OtherRecordings([[extremes for _, _, extremes in clips] for clips in recordings], firsts)
        odd = find_odd_recordings(firsts, others.rank)
        for i, clips in enumerate(recordings):
            for number, _, extremes in clips:
                reasons[number] = odd[i] or next(_clip_outliers(others, i, extremes), "")
    return reasons


def _clip_outliers(others: OtherRecordings, i: int, clip: ActionExtremes) -> Iterator[str]:
    yield from _spike(others, i, clip)
    yield from _out_of_range(others, i, clip)
    moves_A = others.typical_A > 0
    min_leaps = max(2, int(np.ceil(MIN_LEAPING_SHARE * moves_A.sum())))
    for frame, step_A in clip.jumps:
        leaps = int((step_A[moves_A] > LEAP_FACTOR * others.typical_A[moves_A]).sum())
        if leaps >= min_leaps:
            allowed = min_leaps - 1
            yield f"{leaps} of {moves_A.sum()} dimensions leap at frame {frame} after a hold; limit {allowed}"


def _spike(others: OtherRecordings, i: int, clip: ActionExtremes) -> Iterator[str]:
    scale_A = others.scale[i]
    limit_A = np.max(
        [SPIKE_FACTOR * others.spike[i], STEP_FACTOR * others.step[i], MIN_SPIKE_OF_RANGE * scale_A], axis=0
    )
    outside_A = np.maximum(others.low[i] - clip.low, clip.high - others.high[i])
    out_A = np.where(others.barely_moving[i], MAX_RANGES_OUTSIDE, 1) * scale_A
    limit_A = np.where(outside_A > out_A, np.minimum(limit_A, out_A), limit_A)
    limit_A = np.where(others.barely_moving[i], np.maximum(limit_A, 0.5 * others.span[i]), limit_A)
    outlier_A = (clip.spike > limit_A) & (others.range[i] > 0)
    if outlier_A.any():
        d = _worst(outlier_A, clip.spike, scale_A)
        far, frame = clip.spike[d], clip.spike_at[d]
        yield f"dimension {d} leaves its path by {far:.3g} at frame {frame}, above {limit_A[d]:.3g}"


def _out_of_range(others: OtherRecordings, i: int, clip: ActionExtremes) -> Iterator[str]:
    scale_A = np.where(others.barely_moving[i], others.range[i].max(), others.scale[i])
    least_A, most_A = others.low[i] - MAX_RANGES_OUTSIDE * scale_A, others.high[i] + MAX_RANGES_OUTSIDE * scale_A
    beyond_A = np.maximum(least_A - clip.low, clip.high - most_A)
    beyond_limit_A = (beyond_A > 0) & (scale_A > 0)
    if beyond_limit_A.any():
        d = _worst(beyond_limit_A, beyond_A, scale_A)
        if clip.low[d] < least_A[d]:
            yield f"dimension {d} is {clip.low[d]:.3g} at frame {clip.low_at[d]}, below {least_A[d]:.3g}"
        else:
            yield f"dimension {d} is {clip.high[d]:.3g} at frame {clip.high_at[d]}, above {most_A[d]:.3g}"


def _worst(which_A: np.ndarray, by_A: np.ndarray, scale_A: np.ndarray) -> int:
    return int(np.argmax(np.where(which_A, by_A / np.maximum(scale_A, np.finfo(float).tiny), -1)))
