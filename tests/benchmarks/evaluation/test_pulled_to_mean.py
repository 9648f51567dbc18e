"""The planted fault: each layout of a task gets the motion of the most average layout."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.evaluation.pulled_to_mean import pull_to_mean
from evaluation.clips import cases
from worldtune.evaluation.cases.case import Case
from worldtune.evaluation.metrics.end_points import end_point_statistics
from worldtune.evaluation.metrics.paths import compare_paths


def with_ends(ends: list[tuple[float, float]], tasks: str) -> list[Case]:
    """Return cases of the tasks (a letter each) whose paths end at the given points."""
    return [
        replace(case, task=task, path_TD=np.array([[1, 1], [1 + end[0], 1 + end[1]]], np.float32))
        for case, end, task in zip(cases(len(ends)), ends, tasks, strict=True)
    ]


def test_every_clip_of_a_task_gets_the_clip_whose_end_is_nearest_to_the_mean() -> None:
    held_out = with_ends([(10, 0), (0, 50), (14, 2), (0, 60), (19, 0)], "ababa")
    videos = pull_to_mean(held_out)
    chosen = [next(i for i, case in enumerate(held_out) if case.reference is videos[name.name]) for name in held_out]
    assert chosen == [2, 1, 2, 1, 2]


def test_the_end_point_slope_sees_it_and_the_path_slope_does_not() -> None:
    held_out = with_ends([(300, -40), (310, 0), (305, 45), (-10, 400), (30, 390), (-25, 405)], "aaabbb")
    videos = pull_to_mean(held_out)
    donors = [next(case for case in held_out if case.reference is videos[case_.name]) for case_ in held_out]
    paths = [compare_paths(donor.path_TD, case.path_TD) for donor, case in zip(donors, held_out, strict=True)]  # type: ignore[arg-type]
    assert sum(path.along for path in paths) / sum(path.square for path in paths) > 0.95
    read_ND, true_ND = [path.generated_end for path in paths], [path.real_end for path in paths]
    assert end_point_statistics(read_ND, true_ND, [case.task for case in held_out]).slope == pytest.approx(0)


def test_a_case_without_a_path_is_an_error() -> None:
    with pytest.raises(ValueError, match="no recorded path"):
        pull_to_mean(cases(2))
