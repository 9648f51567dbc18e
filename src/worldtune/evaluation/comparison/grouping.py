"""Results over groups of clips: means and paired differences of every metric, by candidate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from worldtune.core.statistics import PairedComparison, compare_paired, estimate_mean
from worldtune.evaluation.cases.case import BASE_DOMAIN
from worldtune.evaluation.results import CandidateResult, CaseRow, Comparison, Group
from worldtune.evaluation.scoring.layouts import count_means, score_layouts
from worldtune.evaluation.scoring.metric_definitions import ACROSS_CASES, METRICS
from worldtune.evaluation.scoring.score_case import pool_curves

Values = Mapping[str, Sequence[float | None]]
Weights = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class ComparisonSetup:
    """The candidates in order, the baselines that each is compared with, and the metrics that were run."""

    order: Sequence[str]
    baselines: Sequence[str]
    metrics: Sequence[str]


def build_comparison(rows: Sequence[CaseRow], setup: ComparisonSetup, not_run: Mapping[str, str]) -> Comparison:
    """Return the comparison of the rows. This is a pure function: the bootstrap always uses the same seed.

    The first of `setup.order` is the reference candidate. Each set of clips is computed once, even if it is a task, a
    camera and a domain at the same time. Metrics across clips are computed from the rows' end points.
    """
    if set(ACROSS_CASES) <= set(setup.metrics):
        rows = score_layouts(rows)
    headline = [row for row in rows if row.domain == rows[0].domain]
    target_rows = [row for row in rows if row.domain != BASE_DOMAIN]
    several = len({row.domain for row in target_rows}) > 1
    built: dict[tuple[str, ...], Group] = {}

    def group(name: str, group_rows: Sequence[CaseRow]) -> Group:
        key = tuple(row.name for row in group_rows)
        if key not in built:
            built[key] = build_group(name, group_rows, setup)
        return replace(built[key], name=name)

    def by(key: Callable[[CaseRow], str], all_rows: Sequence[CaseRow]) -> list[Group]:
        """Return a group for each value of `key`, in the order of first appearance."""
        return [
            group(name, [row for row in all_rows if key(row) == name]) for name in dict.fromkeys(map(key, all_rows))
        ]

    return Comparison(
        reference_candidate=setup.order[0],
        candidates=list(setup.order),
        rows=list(rows),
        headline=group(rows[0].domain, headline),
        domains=by(lambda row: row.domain, rows),
        tasks=by(lambda row: row.task, headline),
        cameras=by(lambda row: row.camera, headline),
        matrix=by(lambda row: row.task, target_rows) if several else [],
        not_run=dict(not_run),
    )


def build_group(name: str, rows: Sequence[CaseRow], setup: ComparisonSetup) -> Group:
    """Return the results of all candidates over the rows."""
    order, metrics = setup.order, setup.metrics
    values = {
        candidate: {metric: [row.scores[candidate].values[metric] for row in rows] for metric in metrics}
        for candidate in order
    }
    weights = {
        metric: [row.scores[order[0]].weights.get(metric, 1.0) for row in rows]
        for metric in dict.fromkeys(metric for row in rows for metric in row.scores[order[0]].weights)
    }
    episodes = [row.episode for row in rows]
    estimated = {metric: 1 + count_means(rows, weights[metric]) for metric in ACROSS_CASES if metric in weights}
    results = {
        candidate: CandidateResult(
            means={
                metric: estimate_mean(
                    values[candidate][metric],
                    episodes,
                    weights=weights.get(metric),
                    estimated=estimated.get(metric, 1),
                )
                for metric in metrics
            },
            against={
                baseline: _compare_with(values[candidate], values[baseline], episodes, weights, estimated)
                for baseline in setup.baselines
                if baseline != candidate
            },
        )
        for candidate in order
    }
    horizon = {
        curve: {name: pool_curves(curve, [row.scores[name].curves[curve] for row in rows]) for name in order}
        for curve in rows[0].scores[order[0]].curves
    }
    return Group(name, [row.name for row in rows], results, horizon)


def _compare_with(
    candidate: Values, baseline: Values, episodes: Sequence[str], weights: Weights, estimated: Mapping[str, int]
) -> dict[str, PairedComparison]:
    """Return how much better a candidate is than a baseline, by metric, without metrics that are only shown."""
    goodness = {metric: METRICS[metric].goodness for metric in candidate if METRICS[metric].better != "shown"}
    return {
        metric: compare_paired(
            list(map(good, candidate[metric])),
            list(map(good, baseline[metric])),
            episodes,
            weights=weights.get(metric),
            estimated=estimated.get(metric, 1),
        )
        for metric, good in goodness.items()
    }
