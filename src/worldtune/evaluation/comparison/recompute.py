"""Recompute an evaluation's groups and gate results from its rows of scores, and reject a file that states others.

The scores themselves (pixel metrics, learned metrics, judge), the loaded weights, the incumbent and the reasons for
metrics that were not run are inputs. The signer of the results vouches for them. Everything computed is checked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

from worldtune.errors import DataError
from worldtune.evaluation.comparison.completeness import find_fault
from worldtune.evaluation.comparison.gates import GatePolicy, GateResult, apply_gates_to_all
from worldtune.evaluation.comparison.grouping import ComparisonSetup, build_comparison
from worldtune.evaluation.results import CaseRow, Comparison
from worldtune.evaluation.scoring.metric_definitions import METRICS

TOLERANCE: Final = 1e-9
"""Largest difference between a stated and a computed number, relative or absolute: machines differ in the last bits."""
HINT: Final = "Run the evaluation again: worldtune evaluate."


def check_comparison(stated: Comparison, where: str) -> None:
    """Raise DataError unless the groups follow from the rows of scores, and the scores from the scores by seed.

    Counts, names and verdicts must be equal; other numbers may differ by `TOLERANCE`.
    """
    if fault := find_fault(stated):
        raise DataError(f"the scores are incomplete: {fault}", where=where, hint=HINT)
    try:
        with np.errstate(all="ignore"):  # a number that is not finite counts as a difference
            fault = _find_seed_fault(stated.rows) or find_difference(stated, recompute(stated))
    except (ArithmeticError, ValueError) as error:  # 10^(db / 10) of a score of a million decibels
        raise DataError("the means of the scores cannot be computed", where=where, hint=HINT) from error
    if fault:
        raise DataError(f"the results contradict their own scores: {fault}", where=where, hint=HINT)


def recompute(stated: Comparison) -> Comparison:
    """Return the comparison computed from the rows of `stated`, for the same candidates, baselines and metrics."""
    against = [baseline for result in stated.headline.results.values() for baseline in result.against]
    metrics = [name for name in METRICS if name not in stated.not_run]
    setting = ComparisonSetup(stated.candidates, list(dict.fromkeys(against)), metrics)
    return build_comparison(stated.rows, setting, stated.not_run)


def check_gate_results(
    stated: Mapping[str, Sequence[GateResult]],
    comparison: Comparison,
    policy: GatePolicy,
    loaded: Mapping[str, str | None],
    incumbent: str | None,
    where: str,
) -> None:
    """Raise DataError unless the gate results equal those of the policy on the comparison, word for word."""
    computed = apply_gates_to_all(comparison, policy, loaded, incumbent)
    for name in dict.fromkeys([*computed, *stated]):
        if name not in computed or name not in stated:
            what = f"unexpected gates for {name!r}" if name in stated else f"no gates for {name!r}"
            raise DataError(what, where=where, hint=HINT)
        if fault := _find_gate_fault(stated[name], computed[name]):
            raise DataError(f"the gates of {name!r} contradict the scores: {fault}", where=where, hint=HINT)


def find_difference(stated: Any, computed: Any, at: str = "") -> str | None:
    """Return where and how two nested values first differ; None if they are equal.

    Values are dataclasses, mappings, lists, numbers and texts; `at` is the path of the values.
    """
    if is_dataclass(stated):
        names = [field.name for field in fields(stated)]
        pairs = [(name, getattr(stated, name), getattr(computed, name)) for name in names]
    elif isinstance(stated, Mapping):
        if unmatched := sorted(set(stated) ^ set(computed)):
            return f"{at}: {'unexpected' if unmatched[0] in stated else 'missing'}: {unmatched[0]!r}"
        pairs = [(name, value, computed[name]) for name, value in stated.items()]
    elif isinstance(stated, list):
        if len(stated) != len(computed):
            return f"{at} has {len(stated)} entries, expected {len(computed)}"
        pairs = [(str(index), value, computed[index]) for index, value in enumerate(stated)]
    else:
        return None if _equal(stated, computed) else f"{at} is {stated!r}, expected {computed!r}"
    for name, value, expected in pairs:
        if value is not expected and (fault := find_difference(value, expected, f"{at}.{name}" if at else name)):
            return fault
    return None


def _equal(stated: Any, computed: Any) -> bool:
    if isinstance(stated, float) and isinstance(computed, float):
        return math.isclose(stated, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(stated == computed)


def _find_gate_fault(stated: Sequence[GateResult], computed: Sequence[GateResult]) -> str | None:
    gates = [gate_result.gate for gate_result in stated]
    for gate_result in computed:
        if gate_result.gate not in gates:
            return f"the gate {gate_result.gate!r} is missing"
    for actual, expected in zip(stated, computed, strict=False):
        if actual != expected:
            return f"{_describe(actual)}, expected {_describe(expected)}"
    return None if len(stated) == len(computed) else f"the policy has no gate {gates[-1]!r}"


def _describe(gate_result: GateResult) -> str:
    return f"{gate_result.gate}: {gate_result.outcome} ({gate_result.why})"


def _find_seed_fault(rows: Sequence[CaseRow]) -> str | None:
    """Return a fault if a clip's score is not the mean over the seeds that have a value.

    Metrics across seeds are not checked: a single video has none of them.
    """
    for row in rows:
        for name, seed_scores in row.seed_scores.items():
            values = row.scores[name].values
            for metric in seed_scores[0].values:
                known = [value for seed_score in seed_scores if (value := seed_score.values[metric]) is not None]
                mean = math.fsum(known) / len(known) if known else None
                if not _equal(values[metric], mean):
                    return f"{row.name}: {metric} of {name} is {values[metric]!r}, the mean over its seeds is {mean!r}"
    return None
