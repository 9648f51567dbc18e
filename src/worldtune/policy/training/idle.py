"""Cut the idle end of an episode: a policy that learns it stalls wherever it resembles the goal.

Real and synthetic paths are cut alike. The labels of generated video never quite come to rest, so that a comparison
without the cut would credit generated video with curing the stall.

Shapes: T frames, I intervals, S state numbers.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from worldtune.policy.episode import TrainingEpisode


def frames_until_idle(positions_TS: np.ndarray, threshold: float) -> int:
    """Return how many frames remain, if those after the last step of `threshold` of the largest step are cut."""
    step_I = np.linalg.norm(np.diff(positions_TS, axis=0), axis=1)
    return int(np.flatnonzero(step_I >= threshold * step_I.max())[-1]) + 2


def cut_idle_end(episode: TrainingEpisode, position_columns: Sequence[int], threshold: float) -> TrainingEpisode:
    """Return the episode without its idle end. An action follows each frame but the last, if the end was cut."""
    kept = frames_until_idle(episode.states_TS[:, list(position_columns)], threshold)
    if kept == len(episode.frames_THWC):
        return episode
    return replace(
        episode,
        frames_THWC=episode.frames_THWC[:kept],
        states_TS=episode.states_TS[:kept],
        actions_ID=episode.actions_ID[: kept - 1],
    )
