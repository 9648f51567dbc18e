"""Whether a dataset can teach a model to obey actions.

Experts cannot: scene and prompt tell their motion already, so that a model learns to ignore the actions. Only clips
that begin alike and go on differently show that the actions decide.
"""

from collections.abc import Sequence

import numpy as np

from worldtune.data.clip import Clip
from worldtune.data.same_start import group_starts
from worldtune.data.splits.spread import spread

MAX_CLIPS = 512  # that are compared
SAME_MOTION = 0.2  # of the displacements' standard deviation: motions that end closer are the same


def find_several_motions(clips: Sequence[Clip]) -> tuple[int, int]:
    """Return how many starts have several motions, and how many motions these have together.

    Raise DataError if a first frame cannot be read.
    """
    acting = [clip for clip in spread(clips, MAX_CLIPS) if clip.actions is not None and clip.states is not None]
    if not acting:
        return 0, 0
    moved_NS = np.stack([states[-1] - states[0] for clip in acting if (states := clip.states) is not None])
    near_S = SAME_MOTION * moved_NS.std(0) + 1e-9
    starts = motions = 0
    for group in group_starts(acting):
        distinct: list[int] = []
        for n in group:
            if all((np.abs(moved_NS[n] - moved_NS[other]) > near_S).any() for other in distinct):
                distinct.append(n)
        starts, motions = starts + (len(distinct) > 1), motions + (len(distinct) if len(distinct) > 1 else 0)
    return starts, motions


def describe_obedience(clips: Sequence[Clip]) -> str | None:
    """Return a sentence on whether these training clips can teach obedience; None if they have no actions."""
    if all(clip.actions is None for clip in clips):
        return None
    starts, motions = find_several_motions(clips)
    if starts:
        return f"actions: {starts} starts have several motions ({motions} clips), from which a model can learn to obey"
    return (
        "note: the training clips cannot teach a model to obey actions: no two begin alike and go on differently, so "
        "scene and prompt tell the motion already. Record play: random motions, several of them from the same start"
    )
