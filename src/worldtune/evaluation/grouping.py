"""What a set of clips says together: means and paired differences of every metric, by candidate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from worldtune.evaluation.comparison import CandidateResult, CaseRow, Group
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


def groups_by(key: Callable[[CaseRow], str], rows: Sequence[CaseRow], setting: Setting) -> list[Group]:
    """The rows of each value of `key`, in the order of first appearance."""
    names = dict.fromkeys(map(key, rows))
    return [group_of(name, [row for row in rows if key(row) == name], setting) for name in names]


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
