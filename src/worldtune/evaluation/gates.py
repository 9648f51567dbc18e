"""What a candidate must show before it is let through: a policy file, and pass, fail or not enough evidence.

    gates:
      - metric: psnr_db          # as in `measures`
        over: base               # how much better than the base, `incumbent` or a candidate; left out: the value itself
        at_least: 1.0            # or at_most; the whole 95 % interval must keep to it
        interval: 1.5            # how wide the interval may be; left out: any width
        episodes: 10             # fewer are not enough evidence
        by: task                 # of each task, or camera, by itself; left out: of all clips

`over` counts what is better: decibels, levels, the logarithm to base 2 of a ratio whose right value is 1. Three gates
are always there: every tensor of the base was loaded, the candidate differs from the base, and it moves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from worldtune.core.strict_io import read_yaml
from worldtune.errors import RecipeError, did_you_mean
from worldtune.evaluation.comparison import Comparison, Group
from worldtune.evaluation.measures import MEASURES
from worldtune.files import digest_json
from worldtune.statistics import ENOUGH, Estimate, Paired
from worldtune.strict import Strict, parse

Outcome = Literal["pass", "fail", "not enough evidence"]
INCUMBENT = "incumbent"
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 3, "not enough evidence": 4}


class Gate(Strict):
    """One rule; see the head of this file."""

    metric: str
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    interval: float | None = Field(None, gt=0)
    episodes: int = Field(ENOUGH, ge=ENOUGH)
    by: Literal["all", "task", "camera"] = "all"

    @model_validator(mode="after")
    def _is_a_rule(self) -> "Gate":
        if self.metric not in MEASURES:
            raise ValueError(
                f"no metric is called {self.metric!r}. " + did_you_mean(self.metric, MEASURES, ", ".join(MEASURES))
            )
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a gate has either at_least or at_most")
        if self.over is not None and MEASURES[self.metric].better == "shown":
            raise ValueError(f"neither way is better for {self.metric}: nothing is better than another by it")
        return self

    @property
    def name(self) -> str:
        """As the table of gates calls it."""
        measure = MEASURES[self.metric]
        unit = f" {measure.unit}" if measure.unit and not (self.over and measure.better == "one") else ""
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return f"{measure.label}{f' better than {self.over} by' if self.over else ''} {bound}{unit}"


class Policy(Strict):
    """A gates file."""

    gates: tuple[Gate, ...] = ()

    @property
    def digest(self) -> str:
        """Names the policy: its gates and the mandatory ones."""
        asked = [gate.model_dump(mode="json") for gate in (*MANDATORY.values(), *self.gates)]
        return digest_json(asked)


DIFFERS = Gate(metric="differs", at_least=0.5)
MOVES = Gate(metric="moves", at_least=0.8)
MANDATORY = {
    "differs from the base by ≥ 0.5 levels": DIFFERS,
    "moves, in ≥ 0.8 of its videos": MOVES,
}
NOTHING_ASKED = Policy()


@dataclass(frozen=True)
class Ruling:
    """What became of one gate; `why` has the number, its interval and the episodes it is from."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    gate: str
    outcome: Outcome
    why: str


def read_policy(path: Path) -> Policy:
    """Raises RecipeError when it cannot be read or is none."""
    found = read_yaml(path, error=RecipeError, mend="Write the gates as docs/evaluation.md shows.")
    return parse(Policy, found, str(path))


def rivals_of(policy: Policy, incumbent: str | None, candidates: Sequence[str]) -> list[str]:
    """The candidates that gates are over, besides the base. Raises RecipeError for one that is not compared."""
    rivals = []
    for gate in policy.gates:
        rival = incumbent if gate.over == INCUMBENT else gate.over
        if rival is None and gate.over == INCUMBENT:
            what = "a gate is over the incumbent, and none is named"
            raise RecipeError(what, where=gate.name, mend="Say which candidate it is by --incumbent NAME.")
        if rival is not None and rival not in candidates:
            what = f"a gate is over {rival!r}, which is not compared"
            raise RecipeError(what, where=gate.name, mend=f"One of: {', '.join(candidates)}.")
        if rival is not None:
            rivals.append(rival)
    return list(dict.fromkeys([*rivals, *([incumbent] if incumbent else [])]))


def rule(
    comparison: Comparison, candidate: str, policy: Policy, loaded: str | None, incumbent: str | None = None
) -> list[Ruling]:
    """Each gate's outcome for a candidate, the mandatory ones first.

    `loaded` says what of the base and the adapter was read, None where nobody knows.
    """
    rulings = [_loaded(loaded)]
    for name, gate in MANDATORY.items():
        rulings += _rulings(comparison, candidate, gate, name, None)
    for gate in policy.gates:
        rival = incumbent if gate.over == INCUMBENT else gate.over
        rulings += _rulings(comparison, candidate, gate, gate.name, rival)
    return rulings


def rulings_of(
    comparison: Comparison, policy: Policy, loaded: Mapping[str, str | None], incumbent: str | None = None
) -> dict[str, list[Ruling]]:
    """`rule` for every judged candidate; one that `loaded` does not name was not seen to be loaded."""
    return {name: rule(comparison, name, policy, loaded.get(name), incumbent) for name in comparison.judged}


def outcome_of(rulings: Sequence[Ruling]) -> Outcome:
    """Fail if any fails; pass if all pass; not enough evidence if there is no ruling at all."""
    outcomes = {ruling.outcome for ruling in rulings}
    if "fail" in outcomes:
        return "fail"
    return "pass" if outcomes == {"pass"} else "not enough evidence"


def _loaded(loaded: str | None) -> Ruling:
    name = "every base tensor loaded"
    if not loaded:
        return Ruling(name, "not enough evidence", "only its videos are here: nobody saw what was loaded")
    return Ruling(name, "pass", loaded)


def _rulings(comparison: Comparison, candidate: str, gate: Gate, name: str, rival: str | None) -> Iterator[Ruling]:
    groups = {"all": [comparison.headline], "task": comparison.tasks, "camera": comparison.cameras}
    for group in groups[gate.by]:
        shown = name if gate.by == "all" else f"{name}, {gate.by} {group.name or '(no name)'}"
        yield _ruling(comparison, group, candidate, gate, shown, rival)


def _ruling(comparison: Comparison, group: Group, candidate: str, gate: Gate, name: str, rival: str | None) -> Ruling:
    if gate.over is not None and rival is None:
        return Ruling(name, "not enough evidence", "no incumbent is named")
    if rival == candidate:
        return Ruling(name, "not enough evidence", "it would be compared with itself")
    if gate.metric in comparison.not_run:
        return Ruling(name, "not enough evidence", f"not run: {comparison.not_run[gate.metric]}")
    result = group.results[candidate]
    if rival is not None and rival not in result.against:
        return Ruling(name, "not enough evidence", f"{rival} was not compared")
    found: Estimate | Paired = result.means[gate.metric] if rival is None else result.against[rival][gate.metric]
    applies = max(result.means[gate.metric].n for result in group.results.values())
    if found.mean is None:
        return Ruling(name, "not enough evidence", "no clip has a value")
    if found.n < applies:
        why = f"only {found.n} of the {applies} clips that have a value of any candidate have one here"
        return Ruling(name, "not enough evidence", why)
    if found.low is None or found.high is None or found.episodes < gate.episodes:
        return Ruling(name, "not enough evidence", f"{found.episodes} of {gate.episodes} episodes that are needed")
    digits = MEASURES[gate.metric].digits + 1
    why = f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}], {found.episodes} episodes"
    if gate.at_least is not None:
        worst, best = found.low - gate.at_least, found.high - gate.at_least
    else:
        assert gate.at_most is not None
        worst, best = gate.at_most - found.high, gate.at_most - found.low
    if best < 0:
        return Ruling(name, "fail", why)
    if gate.interval is not None and found.high - found.low > gate.interval:
        return Ruling(name, "not enough evidence", f"{why}: the interval is wider than {gate.interval:g}")
    return Ruling(name, "pass" if worst >= 0 else "not enough evidence", why)
