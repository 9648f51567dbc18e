"""Labels of one video: commands, states and uncertainty, joined from an ensemble's predictions.

Shape letters: M members, T frames, I = T − 1 intervals, D numbers of a command, S numbers of a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from worldtune.dreams.idm.card import IdmCard
from worldtune.dreams.idm.examples import Array
from worldtune.dreams.idm.network import Prediction
from worldtune.dreams.idm.path import fuse_path


@dataclass(frozen=True, eq=False)
class Labels:
    """What an IDM reads from a video of T frames.

    commands_ID: the mean command of each of the I = T − 1 frame intervals. states_TS: the states, None if the IDM was
    trained without. spread_I: the disagreement of the ensemble, in standard deviations of the training targets.
    """

    commands_ID: Array
    states_TS: Array | None
    spread_I: Array


def join_predictions(predictions: Sequence[Prediction], card: IdmCard, start_S: Array | None) -> Labels:
    """Return the labels: the members' mean, with the states' path and the deltas corrected for drift."""
    command, displacement, states = (torch.stack(parts).double().numpy() for parts in zip(*predictions, strict=True))
    spread_I = _spread(command, displacement, states)
    statistics = card.statistics
    commands_ID = statistics.command.restore(command.mean(0))
    if not card.state_names:
        return Labels(commands_ID, None, spread_I)
    displacement_IS = statistics.displacement.restore(displacement.mean(0))
    both_I2S = statistics.state.restore(states.mean(0))
    position_TS = np.concatenate([both_I2S[:, 0], both_I2S[-1:, 1]])
    path_TS = fuse_path(displacement_IS, position_TS, start_S, card.sigma_ratio)
    correction_IS = np.diff(path_TS, axis=0) - displacement_IS
    return Labels(_corrected(commands_ID, correction_IS, card), path_TS, spread_I)


def _corrected(commands_ID: Array, correction_IS: Array, card: IdmCard) -> Array:
    """Add the correction of the displacements to the deltas of the commands, in the commands' units."""
    corrected_ID = commands_ID.copy()
    for number, column in enumerate(card.action_space.state_columns or ()):
        if column is not None and card.gain[number]:
            corrected_ID[:, number] += correction_IS[:, column] / card.gain[number]
    return corrected_ID


def _spread(command_MID: np.ndarray, displacement_MIS: np.ndarray, states_MI2S: np.ndarray) -> Array:
    """Return the root mean square over all numbers of the members' standard deviation, for each interval."""
    parts = [command_MID, displacement_MIS, states_MI2S.reshape(*states_MI2S.shape[:2], -1)]
    variance_IN = np.concatenate(parts, -1).var(0, ddof=1)
    return np.sqrt(variance_IN.mean(-1)).astype(np.float32)
