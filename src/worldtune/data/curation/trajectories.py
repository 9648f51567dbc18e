"""A summary of a recording's actions: enough to tell a wild action from a rare one.

Shapes: T frames, A action dimensions, L levels of a quantile.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

QUANTILE_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
COMPARED_ROWS = 32  # rows at which actions are compared with states
MIN_HOLD_STEPS = 4  # steps without any change before a jump counts as the end of a hold
MIN_STEP_OF_RANGE = 1e-4  # of a dimension's range in the recording: a smaller step is no change
MIN_MOVING_SHARE = 0.1  # of the steps: a dimension that changes in fewer has no typical step


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A summary of a recording's actions.

    levels (L, A): quantiles. step (A,): the median of the steps that change anything, 0 for a dimension that mostly
    rests. leap (A,): the largest step. state_distance (A, A): the median distance of action i from state j, None if
    states do not have A dimensions.
    """

    episode: str
    levels: np.ndarray
    step: np.ndarray
    leap: np.ndarray
    state_distance: np.ndarray | None


@dataclass(frozen=True, eq=False)
class ActionExtremes:
    """The extremes of a clip's actions.

    low, high (A,): the least and the greatest value, with their frames. spike (A,): the farthest that a value leaves
    its own trajectory and comes back within four frames, with its frame. jumps: (frame, step (A,)) at the end of each
    hold of all dimensions. Frames are the recording's.
    """

    low: np.ndarray
    low_at: np.ndarray
    high: np.ndarray
    high_at: np.ndarray
    spike: np.ndarray
    spike_at: np.ndarray
    jumps: tuple[tuple[int, np.ndarray], ...] = ()


@dataclass(frozen=True, eq=False)
class ActionTrace:
    """The trajectory of a recording, and the arrays from which its clips' extremes are taken."""

    trajectory: Trajectory
    actions: np.ndarray = field(repr=False)
    spikes: np.ndarray = field(repr=False)
    jumps: tuple[tuple[int, np.ndarray], ...] = ()

    def extremes(self, first: int, last: int) -> ActionExtremes:
        """Return the extremes of the frames from `first` to `last`."""
        rows_TA, spikes_TA = self.actions[first : last + 1], self.spikes[first : last + 1]
        low_at, high_at, spike_at = rows_TA.argmin(0), rows_TA.argmax(0), spikes_TA.argmax(0)
        dims = np.arange(rows_TA.shape[1])
        return ActionExtremes(
            low=rows_TA[low_at, dims],
            low_at=first + low_at,
            high=rows_TA[high_at, dims],
            high_at=first + high_at,
            spike=spikes_TA[spike_at, dims],
            spike_at=first + spike_at,
            jumps=tuple((frame, step_A) for frame, step_A in self.jumps if first < frame <= last),
        )


def trace_actions(episode: str, actions_TA: np.ndarray | None, states_TS: np.ndarray | None) -> ActionTrace | None:
    """Return the trace of a recording's actions; None if there are no actions or some are not finite."""
    if actions_TA is None or not actions_TA.size or not np.isfinite(actions_TA).all():
        return None
    actions_TA = actions_TA.astype(np.float64)  # differences of the largest float32 values overflow
    step_TA = np.abs(np.diff(actions_TA, axis=0))
    changes_TA = step_TA > MIN_STEP_OF_RANGE * np.ptp(actions_TA, axis=0)
    trajectory = Trajectory(
        episode,
        np.quantile(actions_TA, QUANTILE_LEVELS, axis=0, method="nearest"),
        _typical_step(step_TA, changes_TA),
        step_TA.max(0, initial=0),
        _state_distances(actions_TA, states_TS),
    )
    return ActionTrace(trajectory, actions_TA, spikes(actions_TA), tuple(_steps_after_holds(step_TA, changes_TA)))


def spikes(actions_TA: np.ndarray) -> np.ndarray:
    """Return (T, A): how far each value lies from the running median of five frames, and of every second of nine.

    A median keeps a step, so only what comes back within four frames remains.
    """
    found_TA = np.abs(actions_TA - _running_median(actions_TA))
    for phase in (0, 1):
        half = actions_TA[phase::2]
        if len(half):
            np.maximum(found_TA[phase::2], np.abs(half - _running_median(half)), out=found_TA[phase::2])
    return found_TA


def _running_median(rows_TA: np.ndarray) -> np.ndarray:
    columns = (np.ascontiguousarray(column[:, None], np.float32) for column in rows_TA.T)
    return np.concatenate([cv2.medianBlur(column, 5).reshape(-1, 1) for column in columns], axis=1)


def _typical_step(step_TA: np.ndarray, changes_TA: np.ndarray) -> np.ndarray:
    """Return (A,): the median of the steps that change a dimension, 0 if few do."""
    if not len(step_TA):
        return np.zeros(step_TA.shape[1])
    count_A = changes_TA.sum(0)
    ordered_TA = np.sort(np.where(changes_TA, step_TA, -1), axis=0)
    middle_A = ordered_TA[len(ordered_TA) - 1 - count_A // 2, np.arange(len(count_A))]
    return np.where(count_A > MIN_MOVING_SHARE * len(step_TA), middle_A, 0.0)


def _steps_after_holds(step_TA: np.ndarray, changes_TA: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return (frame, step) after each hold."""
    moving = np.flatnonzero(changes_TA.any(1))
    hold_lengths = np.diff(moving, prepend=-1) - 1
    return [(int(t) + 1, step_TA[t]) for t in moving[hold_lengths >= MIN_HOLD_STEPS]]


def _state_distances(actions_TA: np.ndarray, states_TS: np.ndarray | None) -> np.ndarray | None:
    if states_TS is None or states_TS.shape != actions_TA.shape or not np.isfinite(states_TS).all():
        return None
    rows = np.linspace(0, len(actions_TA) - 1, COMPARED_ROWS).round().astype(int)
    return np.asarray(np.median(np.abs(actions_TA[rows][:, :, None] - states_TS[rows][:, None, :]), axis=0))
