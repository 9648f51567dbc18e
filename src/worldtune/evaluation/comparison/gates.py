"""Gates on candidates: a policy file whose gates give pass, fail or not enough evidence.

    gates:
      - metric: psnr_db          # a key of `METRICS`
        over: base               # improvement over base, incumbent or a candidate; default: the value itself
        at_least: 1.0            # or at_most; the whole 95 % interval must satisfy it
        interval: 1.5            # largest width of the interval; default: any width
        episodes: 10             # fewer episodes are not enough evidence
        by: task                 # each task (or camera) separately; default: all clips
        domain: base domain      # clips of the base's own domain; default: the held-out clips
        optional: true           # if nothing was measured, the gate does not apply; default: not enough evidence

With `over`, the value is the improvement: decibels, levels, or the base-2 logarithm of a ratio whose right value is 1.
Three checks always run: all base tensors were loaded, the candidate differs from the base, and its videos move. They do
not measure quality; the gates shipped with the package do: `--gates default`, and `--gates dreams` before a policy is
trained on generated videos.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, Field, model_validator

from worldtune.core.files import digest_json
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.statistics import MIN_EPISODES, MeanEstimate, PairedComparison
from worldtune.core.strict_io import read_yaml
from worldtune.errors import RecipeError, did_you_mean
from worldtune.evaluation.cases.case import BASE_DOMAIN
from worldtune.evaluation.results import Comparison, Group
from worldtune.evaluation.scoring.metric_definitions import METRICS

Outcome = Literal["pass", "fail", "not enough evidence"]
NOT_APPLICABLE: Final = "does not apply"
INCUMBENT = "incumbent"
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 3, "not enough evidence": 4}


class Gate(StrictModel):
    """One gate of a policy; the module docstring describes its fields."""

    metric: str
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    interval: float | None = Field(None, gt=0)
    episodes: int = Field(MIN_EPISODES, ge=MIN_EPISODES)
    by: Literal["all", "task", "camera"] = "all"
    domain: Literal["held out", "base domain"] = "held out"
    optional: bool = False

    @model_validator(mode="after")
    def _check_rule(self) -> "Gate":
        if self.metric not in METRICS:
            raise ValueError(
                f"unknown metric {self.metric!r}. " + did_you_mean(self.metric, METRICS, ", ".join(METRICS))
            )
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a gate needs either at_least or at_most")
        if self.over is not None and METRICS[self.metric].better == "shown":
            raise ValueError(f"{self.metric} has no better direction, so `over` cannot be used")
        if self.domain == BASE_DOMAIN and self.by != "all":
            raise ValueError("a gate on the base domain covers all its clips: remove `by`")
        return self

    @property
    def name(self) -> str:
        """The gate's name in tables."""
        metric = METRICS[self.metric]
        unit = f" {metric.unit}" if metric.unit and not (self.over and metric.better == "one") else ""
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        where = f", on the {BASE_DOMAIN}" if self.domain == BASE_DOMAIN else ""
        return f"{metric.label}{f' better than {self.over} by' if self.over else ''} {bound}{unit}{where}"


class GatePolicy(StrictModel):
    """The gates of a policy file."""

    gates: tuple[Gate, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of the policy's gates and the mandatory gates."""
        gates = [gate.model_dump(mode="json") for gate in (*MANDATORY.values(), *self.gates)]
        return digest_json(gates)


DIFFERS = Gate(metric="base_difference", at_least=0.5)
MOVES = Gate(metric="moves", at_least=0.8)
MANDATORY = {
    "differs from the base by ≥ 0.5 levels": DIFFERS,
    "moves, in ≥ 0.8 of its videos": MOVES,
}
NO_GATES = GatePolicy()
DEFAULT: Final = Path("default")
DREAMS: Final = Path("dreams")
_FOLDER = Path(str(files("worldtune"))) / "evaluation"
SHIPPED = {DEFAULT: _FOLDER / "gates.yaml", DREAMS: _FOLDER / "gates-dreams.yaml"}
"""The files of the gates shipped with the package, by name."""


@dataclass(frozen=True)
class GateResult:
    """The outcome of one gate. `why` has the value, its interval and the number of episodes, or the reason."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    gate: str
    outcome: Outcome | Literal["does not apply"]
    why: str


def read_gate_policy(path: Path) -> GatePolicy:
    """Return the policy of a gates file; the paths `default` and `dreams` are policies shipped with the package.

    Raise RecipeError if the file cannot be read or is not a policy.
    """
    hint = "Write gates as in docs/evaluation.md, or use --gates default or dreams."
    content = read_yaml(SHIPPED.get(path, path), error=RecipeError, hint=hint)
    return parse_model(GatePolicy, content, str(path))


def find_baselines(policy: GatePolicy, incumbent: str | None, candidates: Sequence[str]) -> list[str]:
    """Return the baselines of the gates and the incumbent. Raise RecipeError if one is not among the candidates."""
    baselines = []
    for gate in policy.gates:
        baseline = incumbent if gate.over == INCUMBENT else gate.over
        if baseline is None and gate.over == INCUMBENT:
            what = "a gate compares with the incumbent, but there is no incumbent"
            raise RecipeError(what, where=gate.name, hint="Specify the incumbent with --incumbent NAME.")
        if baseline is not None and baseline not in candidates:
            what = f"a gate compares with {baseline!r}, which is not a candidate"
            raise RecipeError(what, where=gate.name, hint=f"Use one of: {', '.join(candidates)}.")
        if baseline is not None:
            baselines.append(baseline)
    return list(dict.fromkeys([*baselines, *([incumbent] if incumbent else [])]))


def apply_gates(
    comparison: Comparison, candidate: str, policy: GatePolicy, loaded: str | None, incumbent: str | None = None
) -> list[GateResult]:
    """Return the result of each gate for a candidate, the mandatory gates first.

    `loaded` describes the weights that were loaded for the candidate, None if that is unknown.
    """
    gate_results = [_check_loaded(loaded)]
    for name, gate in MANDATORY.items():
        gate_results += _apply_gate(comparison, candidate, gate, name, None)
    for gate in policy.gates:
        baseline = incumbent if gate.over == INCUMBENT else gate.over
        gate_results += _apply_gate(comparison, candidate, gate, gate.name, baseline)
    return gate_results


def apply_gates_to_all(
    comparison: Comparison, policy: GatePolicy, loaded: Mapping[str, str | None], incumbent: str | None = None
) -> dict[str, list[GateResult]]:
    """Return `apply_gates` of every tested candidate. For candidates missing in `loaded`, the weights are unknown."""
    return {
        name: apply_gates(comparison, name, policy, loaded.get(name), incumbent)
        for name in comparison.tested_candidates
    }


def overall_outcome(gate_results: Sequence[GateResult]) -> Outcome:
    """Return "fail" if any gate fails, "pass" if at least one gate applies and all of these pass.

    Return "not enough evidence" otherwise.
    """
    outcomes = {gate_result.outcome for gate_result in gate_results} - {NOT_APPLICABLE}
    if "fail" in outcomes:
        return "fail"
    return "pass" if outcomes == {"pass"} else "not enough evidence"


def describe_outcome(policy: GatePolicy, gate_results: Sequence[GateResult]) -> str:
    """Return the overall outcome in words. Without gates in the policy, say that only the mandatory checks ran."""
    if policy.gates:
        return f"gates: {overall_outcome(gate_results)}"
    return f"checks: {overall_outcome(gate_results)}; no quality gates"


def _check_loaded(loaded: str | None) -> GateResult:
    name = "every base tensor loaded"
    if not loaded:
        return GateResult(name, "not enough evidence", "only videos were given: the loaded weights are unknown")
    return GateResult(name, "pass", loaded)


def _apply_gate(
    comparison: Comparison, candidate: str, gate: Gate, name: str, baseline: str | None
) -> Iterator[GateResult]:
    groups = {"all": [comparison.headline], "task": comparison.tasks, "camera": comparison.cameras}[gate.by]
    if gate.domain == BASE_DOMAIN:
        groups = [group for group in comparison.domains if group.name == BASE_DOMAIN]
        if not groups:
            yield _not_measured(gate, name, f"no clips of the {BASE_DOMAIN}")
    for group in groups:
        label = name if gate.by == "all" else f"{name}, {gate.by} {group.name or '(no name)'}"
        yield _apply_gate_to_group(comparison, group, candidate, gate, label, baseline)


def _not_measured(gate: Gate, name: str, why: str) -> GateResult:
    return GateResult(name, NOT_APPLICABLE if gate.optional else "not enough evidence", why)


def _apply_gate_to_group(
    comparison: Comparison, group: Group, candidate: str, gate: Gate, name: str, baseline: str | None
) -> GateResult:
    if gate.over is not None and baseline is None:
        return GateResult(name, "not enough evidence", "there is no incumbent")
    if baseline == candidate:
        return GateResult(name, "not enough evidence", "a candidate cannot be compared with itself")
    if gate.metric in comparison.not_run:
        return _not_measured(gate, name, f"not run: {comparison.not_run[gate.metric]}")
    result = group.results[candidate]
    if baseline is not None and baseline not in result.against:
        return GateResult(name, "not enough evidence", f"{baseline} was not compared")
    estimate: MeanEstimate | PairedComparison = (
        result.means[gate.metric] if baseline is None else result.against[baseline][gate.metric]
    )
    applies = max(result.means[gate.metric].n for result in group.results.values())
    if applies == 0:
        return _not_measured(gate, name, "no candidate has a value on any clip")
    if estimate.mean is None:
        return GateResult(name, "not enough evidence", "no clip has a value")
    if estimate.n < applies:
        why = f"only {estimate.n} of the {applies} clips to which the metric applies have a value"
        return GateResult(name, "not enough evidence", why)
    if estimate.low is None or estimate.high is None or estimate.episodes < gate.episodes:
        why = f"only {estimate.episodes} of {gate.episodes} required episodes"
        return GateResult(name, "not enough evidence", why)
    digits = METRICS[gate.metric].digits + 1
    bounds = f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    why = f"{estimate.mean:.{digits}f} {bounds}, {estimate.episodes} episodes"
    if gate.at_least is not None:
        worst, best = estimate.low - gate.at_least, estimate.high - gate.at_least
    else:
        assert gate.at_most is not None
        worst, best = gate.at_most - estimate.high, gate.at_most - estimate.low
    if best < 0:
        return GateResult(name, "fail", why)
    if gate.interval is not None and estimate.high - estimate.low > gate.interval:
        return GateResult(name, "not enough evidence", f"{why}: the interval is wider than {gate.interval:g}")
    return GateResult(name, "pass" if worst >= 0 else "not enough evidence", why)
