"""Scores across clips: the slope of end points about their mean over a task's clips, and their error over the spread.

These are properties of a set of clips, but each is a ratio of sums over clips. A clip's value is the ratio of its own
two terms, and its weight is the lower term, so that the weighted mean over clips is the ratio of the sums. Means,
paired differences and intervals then work as for any other metric. The bootstrap resamples episodes and holds the means
of the tasks fixed; the intervals are widened for these means, as for estimated parameters (`count_means`).

Shape letters: N clips, D axes.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from worldtune.evaluation.metrics.end_points import EndPointTerms, end_point_terms
from worldtune.evaluation.results import CaseRow
from worldtune.evaluation.scores import EndPoint, Scores
from worldtune.evaluation.scoring.metric_definitions import ACROSS_CASES

MIN_SPREAD: Final = float(np.sqrt(2))
"""The smallest spread of read end points, in errors of the reader, with which an axis varies. Both variances add up, so
the true spread is then at least the reader's error."""
MIN_EPISODES: Final = 2  # clips of a single episode share one layout
AT_THE_MEAN: Final = 1e-9
"""The smallest distance from the mean, as a share of the spread, so that a clip at the mean keeps its error."""

Ratios = dict[str, tuple[float, float]]
"""The two terms of each ratio of a clip: the upper one, and the lower one, which is the clip's weight."""


def score_layouts(rows: Sequence[CaseRow]) -> list[CaseRow]:
    """Return the rows with the metrics of `ACROSS_CASES` for each candidate.

    The means are taken over the clips of one task, camera and domain.
    """
    groups = list(map(_group, rows))
    episodes = [row.episode for row in rows]
    scores = {name: score_across_cases([row.scores[name] for row in rows], groups, episodes) for name in rows[0].scores}
    return [replace(row, scores={name: scores[name][index] for name in row.scores}) for index, row in enumerate(rows)]


def count_means(rows: Sequence[CaseRow], weights: Sequence[float]) -> int:
    """Return how many means were subtracted from the end points of the clips with a weight above 0."""
    return len({_group(row) for row, weight in zip(rows, weights, strict=True) if weight > 0})


def _group(row: CaseRow) -> tuple[str, str, str]:
    return row.domain, row.task, row.camera


def score_across_cases(scores: Sequence[Scores], groups: Sequence[Hashable], episodes: Sequence[str]) -> list[Scores]:
    """Return one candidate's scores of clips with the metrics of `ACROSS_CASES`, computed from their end points.

    `groups` names the task of each clip. The metrics are None for clips without an end point, and for clips of a task
    with a single episode or whose end points do not vary.
    """
    found = list(scores)
    for group in dict.fromkeys(groups):
        clips = [index for index, name in enumerate(groups) if name == group]
        known = [index for index in clips if scores[index].end_point is not None]
        ratios: dict[int, Ratios] = {}
        if len({episodes[index] for index in known}) >= MIN_EPISODES:
            ratios = dict(zip(known, _ratios([scores[index] for index in known]), strict=True))
        for index in clips:
            found[index] = _replace_metrics(scores[index], ratios.get(index, {}))
    return found


def _ratios(scores: Sequence[Scores]) -> list[Ratios]:
    """Return the ratios of each clip of one task. All clips have an end point."""
    terms = _terms([end_point for clip in scores if (end_point := clip.end_point) is not None])
    floor = AT_THE_MEAN * float(terms.distance_N.mean())
    ratios: list[Ratios] = []
    for index, clip in enumerate(scores):
        along_D, square_D = terms.along_ND[index], terms.square_ND[index]
        slopes = {"end_point_slope": (float(along_D.sum()), float(square_D.sum()))}
        for axis, along, square in zip("xyz", along_D, square_D, strict=True):
            slopes[f"end_point_slope_{axis}"] = float(along), float(square)
        error = clip.values["end_point_mm"]  # with several seeds, the mean of their errors
        if terms.counts_N[index] and error is not None:
            slopes["end_point_over_spread"] = error, max(float(terms.distance_N[index]), floor)
        ratios.append(slopes)
    return ratios


def _terms(end_points: Sequence[EndPoint]) -> EndPointTerms:
    return end_point_terms(
        [end_point.generated for end_point in end_points],
        [end_point.real for end_point in end_points],
        [""] * len(end_points),
        MIN_SPREAD * np.asarray(end_points[0].reader_error),
    )


def _replace_metrics(scores: Scores, ratios: Ratios) -> Scores:
    values: dict[str, float | None] = dict.fromkeys(ACROSS_CASES)
    values |= {metric: upper / lower for metric, (upper, lower) in ratios.items() if lower > 0}
    weights = dict.fromkeys(ACROSS_CASES, 0.0) | {metric: lower for metric, (_, lower) in ratios.items()}
    return replace(scores, values=scores.values | values, weights=scores.weights | weights)
