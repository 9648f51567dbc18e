"""What a set of clips says together: means and paired differences of every metric, by candidate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from worldtune.evaluation.case import BASE_DOMAIN
from worldtune.evaluation.comparison import CandidateResult, CaseRow, Comparison, Group
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.takes import pooled
from worldtune.statistics import Paired, estimate, paired

Values = Mapping[str, Sequence[float | None]]
Weights = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Setting:
    """The candidates in order, which of them each is held against, and the metrics that were run."""

    order: Sequence[str]
    rivals: Sequence[str]
    metrics: Sequence[str]


def comparison_of(rows: Sequence[CaseRow], setting: Setting, not_run: Mapping[str, str]) -> Comparison:
    """The whole comparison from its rows: a pure function, whose bootstrap always draws from the same seed.

    The first of `setting.order` is the reference candidate. Each set of clips is computed once, even if it is a
    task, a camera and a domain at the same time.
    """
    headline = [row for row in rows if row.domain == rows[0].domain]
    told = [row for row in rows if row.domain != BASE_DOMAIN]
    several = len({row.domain for row in told}) > 1
    done: dict[tuple[str, ...], Group] = {}

    def group(name: str, its: Sequence[CaseRow]) -> Group:
        key = tuple(row.name for row in its)
        if key not in done:
            done[key] = group_of(name, its, setting)
        return replace(done[key], name=name)

    def by(key: Callable[[CaseRow], str], of: Sequence[CaseRow]) -> list[Group]:
        """The rows of each value of `key`, in the order of first appearance."""
        return [group(name, [row for row in of if key(row) == name]) for name in dict.fromkeys(map(key, of))]

    return Comparison(
        reference_candidate=setting.order[0],
        candidates=list(setting.order),
        rows=list(rows),
        headline=group(rows[0].domain, headline),
        domains=by(lambda row: row.domain, rows),
        tasks=by(lambda row: row.task, headline),
        cameras=by(lambda row: row.camera, headline),
        matrix=by(lambda row: row.task, told) if several else [],
        not_run=dict(not_run),
    )


def group_of(name: str, rows: Sequence[CaseRow], setting: Setting) -> Group:
    """What some rows say of the candidates."""
    order, metrics = setting.order, setting.metrics
    values = {
        candidate: {metric: [row.scores[candidate].values[metric] for row in rows] for metric in metrics}
        for candidate in order
    }
    weights = {
        metric: [row.scores[order[0]].weights.get(metric, 1.0) for row in rows]
        for metric in dict.fromkeys(metric for row in rows for metric in row.scores[order[0]].weights)
    }
    episodes = [row.episode for row in rows]
    results = {
        candidate: CandidateResult(
            means={
                metric: estimate(values[candidate][metric], episodes, weights=weights.get(metric)) for metric in metrics
            },
            against={
                rival: _against(values[candidate], values[rival], episodes, weights)
                for rival in setting.rivals
                if rival != candidate
            },
        )
        for candidate in order
    }
    horizon = {
        curve: {name: pooled(curve, [row.scores[name].curves[curve] for row in rows]) for name in order}
        for curve in rows[0].scores[order[0]].curves
    }
    return Group(name, [row.name for row in rows], results, horizon)


def _against(mine: Values, rival: Values, episodes: Sequence[str], weights: Weights) -> dict[str, Paired]:
    """How much better one candidate is than another, by metric; what is only shown is left out."""
    judged = {metric: MEASURES[metric].goodness for metric in mine if MEASURES[metric].better != "shown"}
    return {
        metric: paired(
            list(map(good, mine[metric])), list(map(good, rival[metric])), episodes, weights=weights.get(metric)
        )
        for metric, good in judged.items()
    }
