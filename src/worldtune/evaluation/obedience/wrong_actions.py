"""Wrong actions: a held-out clip's first frame and prompt, with the actions of another task's clip.

A model that obeys moves as the other clip; one that ignores actions moves as the first frame and the prompt suggest.
Robots often move alike in all tasks (down, and ahead), so a random permutation would reward such a model. The clips are
permuted so that the recorded paths of each pair correlate least.

Shapes: N clips, T frames, D coordinates.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from worldtune.latents.dataset import LatentClip

FORBIDDEN = 1e3  # cost of a pair of one task


def give_wrong_actions(clips: Sequence[LatentClip], columns: Sequence[int]) -> list[tuple[LatentClip, LatentClip]]:
    """Return each clip with the actions of a clip of another task, and that other clip; each clip's are used once.

    `columns` are the state columns of the gripper's position. Return [] if a clip has no actions or states, or more
    than half of the clips are of one task.
    """
    if not clips or not columns or any(latent.clip.actions is None or latent.clip.states is None for latent in clips):
        return []
    paths = [_unit_path(latent, columns) for latent in clips]
    tasks = np.array([latent.clip.task for latent in clips])
    cost_NN = np.array([[float((a * b).sum()) for b in paths] for a in paths])
    cost_NN[tasks[:, None] == tasks[None]] = FORBIDDEN
    rows, others = linear_sum_assignment(cost_NN)
    if (cost_NN[rows, others] >= FORBIDDEN).any():
        return []
    return [
        (replace(latent, clip=replace(latent.clip, actions=clips[other].clip.actions)), clips[other])
        for latent, other in zip(clips, others, strict=True)
    ]


def _unit_path(latent: LatentClip, columns: Sequence[int]) -> np.ndarray:
    """Return the recorded path (T, D) about its mean, with norm 1, so that products are correlations."""
    assert latent.clip.states is not None
    path_TD = latent.clip.states[:, list(columns)].astype(np.float64)
    path_TD = path_TD - path_TD.mean(0)
    return path_TD / max(float(np.linalg.norm(path_TD)), 1e-9)
