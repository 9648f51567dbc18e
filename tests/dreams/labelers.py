"""A stand-in for an inverse dynamics model: states read from small gray frames by ridge regression on real clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldtune.core.files import digest_bytes
from worldtune.data.clip import Clip, read_clips
from worldtune.dreams.idm.labels import Labels
from worldtune.evaluation.candidates.baselines import thumbnails

RIDGE = 1e4


@dataclass(frozen=True, eq=False)
class RegressionLabeler:
    """Reads states from a frame's thumbnail; a command is the change of the first three states, in cm."""

    weights_VS: np.ndarray

    @property
    def digest(self) -> str:
        return digest_bytes(self.weights_VS.tobytes())

    def label(self, frames_THWC: np.ndarray, start_S: np.ndarray | None) -> Labels:
        states_TS = (_inputs(frames_THWC) @ self.weights_VS).astype(np.float32)
        if start_S is not None:
            states_TS += start_S - states_TS[0]
        commands_ID = np.diff(states_TS, axis=0) * 100
        spread_I = np.abs(np.diff(_inputs(frames_THWC), axis=0)).mean(1).astype(np.float32)
        return Labels(commands_ID, states_TS, spread_I)


def fit_labeler(clips: Sequence[Clip]) -> RegressionLabeler:
    """Return the labeler of these clips, which must have states."""
    inputs, states = [], []
    for clip, frames_THWC in read_clips(clips):
        assert clip.states is not None
        inputs.append(_inputs(frames_THWC))
        states.append(clip.states)
    x_NV, y_NS = np.concatenate(inputs), np.concatenate(states)
    return RegressionLabeler(np.linalg.solve(x_NV.T @ x_NV + RIDGE * np.eye(x_NV.shape[1]), x_NV.T @ y_NS))


def _inputs(frames_THWC: np.ndarray) -> np.ndarray:
    values_TV = thumbnails(frames_THWC)
    return np.concatenate([values_TV, np.ones((len(values_TV), 1))], axis=1)
