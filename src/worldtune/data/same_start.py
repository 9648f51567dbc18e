"""Clips that begin alike: the same camera, robot state and picture. What follows differs by the actions alone.

Shapes: N clips, S numbers of a state.
"""

from collections.abc import Sequence

import numpy as np

from worldtune.data.clip import Clip

SAME_STATE = 0.02  # of the states' standard deviation, in every column: a robot that was driven back to its start
SAME_PICTURE = 8  # levels of 255, in every patch of the thumbnail: noise of camera and codec, but no moved object


def group_starts(clips: Sequence[Clip]) -> list[list[int]]:
    """Return the groups of clips, by index, that begin alike; a clip alone is no group. Clips without states are alone.

    Raise DataError if a first frame cannot be read.
    """
    states = {n: states_TS[0] for n, clip in enumerate(clips) if (states_TS := clip.states) is not None}
    if len(states) < 2:
        return []
    near_S = SAME_STATE * np.concatenate([clips[n].states for n in states]).std(0) + 1e-9
    groups: list[list[int]] = []
    pictures: dict[int, np.ndarray] = {}
    for n, state_S in states.items():
        for group in groups:
            first = group[0]
            same_place = (clips[first].source, clips[first].camera) == (clips[n].source, clips[n].camera)
            if (
                same_place
                and (np.abs(states[first] - state_S) <= near_S).all()
                and _look_alike(clips, pictures, first, n)
            ):
                group.append(n)
                break
        else:
            groups.append([n])
    return [group for group in groups if len(group) > 1]


def _look_alike(clips: Sequence[Clip], pictures: dict[int, np.ndarray], a: int, b: int) -> bool:
    for n in (a, b):
        if n not in pictures:
            pictures[n] = _first_picture(clips[n])
    return bool(np.abs(pictures[a] - pictures[b]).max() <= SAME_PICTURE)


def _first_picture(clip: Clip) -> np.ndarray:
    """Return the thumbnail and the colors of the clip's first frame, flat."""
    features = clip.footage.frame_features(max(clip.frame_indices) + 1).select(clip.frame_indices[0], 1)
    return np.concatenate([features.thumbs.ravel(), features.colors.ravel()]).astype(np.int16)
