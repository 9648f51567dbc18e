"""How well an IDM reads videos whose states and commands are known.

Shape letters: T frames, I = T − 1 intervals, D numbers of a command, S numbers of a state, P position columns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from worldtune.dreams.idm.card import IdmCard
from worldtune.dreams.idm.examples import Array, Frames
from worldtune.dreams.idm.labels import Labels
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.evaluation.cases.gripper_columns import find_gripper_columns
from worldtune.evaluation.metrics.end_points import end_point_statistics

HORIZON = 4  # frames between the rows of the error over time


@dataclass(frozen=True, eq=False)
class KnownVideo:
    """A video with its true states, and commands if they are known; `group` names its task and camera."""

    frames_THWC: Frames
    states_TS: Array
    commands_ID: Array | None
    group: str


def measure(idm: InverseDynamics, videos: Iterable[KnownVideo]) -> dict[str, Any]:
    """Return the figures of an IDM with states on some videos, as `compare_labels` does."""
    known = list(videos)
    return compare_labels(idm.card, known, [idm.label(video.frames_THWC, video.states_TS[0]) for video in known])


def compare_labels(card: IdmCard, known: Sequence[KnownVideo], labels: Sequence[Labels]) -> dict[str, Any]:
    """Return the figures of the labels that an IDM with states read from some videos.

    displacement_r2: the share of the variance of the positions' displacement in a frame interval that is explained,
    over all position columns, or all states if no columns are x, y and z. end_points: slope about the mean over the
    layouts of a group, error and spread, in the states' units. error_at_frame: the mean distance of the read position.
    spearman: of the ensemble's disagreement and the error of the displacement, over all intervals, both averaged over
    three intervals.
    """
    columns = list(find_gripper_columns(card.state_names) or range(len(card.state_names)))
    read = [np.asarray(label.states_TS)[:, columns] for label in labels]
    true = [video.states_TS[:, columns] for video in known]
    moved, moved_true = (np.concatenate([np.diff(path, axis=0) for path in paths]) for paths in (read, true))
    distance_NT = np.stack([np.linalg.norm(r - t, axis=1) for r, t in zip(read, true, strict=True)])
    ends = end_point_statistics(
        [path[-1] - path[0] for path in read], [path[-1] - path[0] for path in true], [video.group for video in known]
    )
    error = [np.linalg.norm(np.diff(r - t, axis=0), axis=1) for r, t in zip(read, true, strict=True)]
    rows = range(HORIZON, distance_NT.shape[1], HORIZON)
    figures = {
        "clips": len(known),
        "displacement_r2": r_squared(moved, moved_true),
        "displacement_r2_by_axis": [r_squared(m, t) for m, t in zip(moved.T, moved_true.T, strict=True)],
        "error_at_frame": {str(t): float(distance_NT[:, t].mean()) for t in rows},
        "end_points": vars(ends),
        "spearman": rank_correlation([label.spread_I for label in labels], error),
    }
    return figures | _command_figures(card, known, [label.commands_ID for label in labels])


def _command_figures(card: IdmCard, known: Sequence[KnownVideo], read: Sequence[Array]) -> dict[str, Any]:
    """Return R² of each number of the commands, and the balanced accuracy of those that are not deltas."""
    pairs = [(r, v.commands_ID) for r, v in zip(read, known, strict=True) if v.commands_ID is not None]
    if not pairs:
        return {}
    read_ND, true_ND = np.concatenate([r for r, _ in pairs]), np.concatenate([t for _, t in pairs])
    columns = card.action_space.state_columns or ()
    switches = [number for number, column in enumerate(columns) if column is None]
    return {
        "command_r2": [r_squared(r, t) for r, t in zip(read_ND.T, true_ND.T, strict=True)],
        "balanced_accuracy": {str(n): balanced_accuracy(read_ND[:, n], true_ND[:, n]) for n in switches},
    }


def r_squared(read: npt.NDArray[Any], true: npt.NDArray[Any]) -> float | None:
    """Return the explained share of the variance, None if the true values do not vary."""
    variance = float(np.square(true - true.mean(0)).sum())
    return 1 - float(np.square(read - true).sum()) / variance if variance > 1e-12 else None


def balanced_accuracy(read_N: npt.NDArray[Any], true_N: npt.NDArray[Any]) -> float | None:
    """Return the mean over both sides of the middle of the true range of the share that is read on that side.

    Return None if the true values do not vary.
    """
    middle = (float(true_N.min()) + float(true_N.max())) / 2
    high_N = true_N > middle
    if high_N.all() or not high_N.any():
        return None
    return float(((read_N > middle)[high_N].mean() + (read_N <= middle)[~high_N].mean()) / 2)


def rank_correlation(spread: Sequence[Array], error: Sequence[npt.NDArray[Any]]) -> float:
    """Return Spearman's correlation of uncertainty and error, each averaged over three intervals."""
    kernel = np.ones(3) / 3
    smooth = [np.concatenate([np.convolve(row, kernel, "valid") for row in rows]) for rows in (spread, error)]
    return float(spearmanr(*smooth).statistic)
