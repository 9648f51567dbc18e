"""A bad candidate: the motion of each layout is pulled to the mean of the layouts of its task.

Shape letters: N clips, D axes.
"""

from collections.abc import Sequence

import numpy as np

from worldtune.evaluation.cases.case import Case, Video


def pull_to_mean(cases: Sequence[Case]) -> dict[str, Video]:
    """Return the video of each case, by name: the real clip of its task whose end point is nearest to their mean.

    All layouts of a task get the same recorded motion, so the end points do not vary at all. The task is that of one
    camera and domain. Raise ValueError if a case has no recorded path.
    """
    groups: dict[tuple[str, str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.domain, case.task, case.camera), []).append(case)
    return {case.name: _most_average(group).reference for group in groups.values() for case in group}


def _most_average(cases: Sequence[Case]) -> Case:
    ends = [path_TD[-1] - path_TD[0] for case in cases if (path_TD := case.path_TD) is not None]
    if len(ends) < len(cases):
        raise ValueError("a case has no recorded path")
    end_ND = np.stack(ends)
    return cases[int(np.linalg.norm(end_ND - end_ND.mean(0), axis=1).argmin())]
