"""Compute an evaluation's groups and gates from its rows of scores, and refuse a file that states something else.

The scores themselves (of pixels, of learned metrics, of a judge), what was loaded, which candidate is the incumbent,
and why a metric was not run are inputs: whoever signs the results vouches for them. What follows from them is checked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

from worldtune.errors import DataError
from worldtune.evaluation.comparison import CaseRow, Comparison
from worldtune.evaluation.gates import Policy, Ruling, rulings_of
from worldtune.evaluation.grouping import Setting, comparison_of
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.row_shape import shape_fault

CLOSE: Final = 1e-9
"""How far a stated number may lie from the computed one, relative or absolute: the last bits of another machine."""
MEND: Final = "Run the evaluation again: worldtune evaluate."


def check_comparison(stated: Comparison, where: str) -> None:
    """Raise DataError unless the groups are what the rows of scores say, and the scores what the takes say.

    Counts, names and verdicts must be equal; other numbers may differ by `CLOSE`.
    """
    if fault := shape_fault(stated):
        raise DataError(f"the scores are incomplete: {fault}", where=where, mend=MEND)
    try:
        with np.errstate(all="ignore"):  # a number that is not finite is a difference
            fault = _takes_fault(stated.rows) or difference(stated, recomputed(stated))
    except (ArithmeticError, ValueError) as error:  # 10^(db / 10) of a score of a million decibels
        raise DataError("no means can be computed from such scores", where=where, mend=MEND) from error
    if fault:
        raise DataError(f"the results contradict their own scores: {fault}", where=where, mend=MEND)


def recomputed(stated: Comparison) -> Comparison:
    """The comparison that follows from the rows of `stated`, for the same candidates, rivals and metrics."""
    against = [rival for result in stated.headline.results.values() for rival in result.against]
    metrics = [name for name in MEASURES if name not in stated.not_run]
    setting = Setting(stated.candidates, list(dict.fromkeys(against)), metrics)
    return comparison_of(stated.rows, setting, stated.not_run)


def check_rulings(
    stated: Mapping[str, Sequence[Ruling]],
    comparison: Comparison,
    policy: Policy,
    loaded: Mapping[str, str | None],
    incumbent: str | None,
    where: str,
) -> None:
    """Raise DataError unless the rulings are those of the policy on the comparison, word for word."""
    computed = rulings_of(comparison, policy, loaded, incumbent)
    for name in dict.fromkeys([*computed, *stated]):
        if name not in computed or name not in stated:
            what = f"the gates rule on {name!r}, which was not judged" if name in stated else f"no gates for {name!r}"
            raise DataError(what, where=where, mend=MEND)
        if fault := _ruling_fault(stated[name], computed[name]):
            raise DataError(f"the gates of {name!r} contradict the scores: {fault}", where=where, mend=MEND)


def difference(stated: Any, computed: Any, at: str = "") -> str | None:
    """Where two values of dataclasses, mappings, lists, numbers and texts differ first, and how; None if nowhere."""
    if is_dataclass(stated):
        names = [field.name for field in fields(stated)]
        pairs = [(name, getattr(stated, name), getattr(computed, name)) for name in names]
    elif isinstance(stated, Mapping):
        if odd := sorted(set(stated) ^ set(computed)):
            return f"{at}: {'unexpected' if odd[0] in stated else 'missing'}: {odd[0]!r}"
        pairs = [(name, its, computed[name]) for name, its in stated.items()]
    elif isinstance(stated, list):
        if len(stated) != len(computed):
            return f"{at} has {len(stated)} entries, computed are {len(computed)}"
        pairs = [(str(place), its, computed[place]) for place, its in enumerate(stated)]
    else:
        return None if _equal(stated, computed) else f"{at} is {stated!r}, computed is {computed!r}"
    for name, its, theirs in pairs:
        if its is not theirs and (fault := difference(its, theirs, f"{at}.{name}" if at else name)):
            return fault
    return None


def _equal(stated: Any, computed: Any) -> bool:
    if isinstance(stated, float) and isinstance(computed, float):
        return math.isclose(stated, computed, rel_tol=CLOSE, abs_tol=CLOSE)
    return bool(stated == computed)


def _ruling_fault(stated: Sequence[Ruling], computed: Sequence[Ruling]) -> str | None:
    gates = [ruling.gate for ruling in stated]
    for ruling in computed:
        if ruling.gate not in gates:
            return f"the gate {ruling.gate!r} is missing"
    for mine, theirs in zip(stated, computed, strict=False):
        if mine != theirs:
            return f"{_told(mine)}, computed is {_told(theirs)}"
    return None if len(stated) == len(computed) else f"the policy has no gate {gates[-1]!r}"


def _told(ruling: Ruling) -> str:
    return f"{ruling.gate}: {ruling.outcome} ({ruling.why})"


def _takes_fault(rows: Sequence[CaseRow]) -> str | None:
    """A clip's score is the mean over its takes that have a value; what is between the takes is not theirs."""
    for row in rows:
        for name, takes in row.takes.items():
            values = row.scores[name].values
            for metric in takes[0].values:
                known = [value for take in takes if (value := take.values[metric]) is not None]
                mean = math.fsum(known) / len(known) if known else None
                if not _equal(values[metric], mean):
                    return f"{row.name}: {metric} of {name} is {values[metric]!r}, its takes say {mean!r}"
    return None
