"""Gates applied to comparisons with a known outcome."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.evaluation.bad_candidates import smear
from worldtune.core.statistics import MeanEstimate
from worldtune.errors import RecipeError
from worldtune.evaluation.candidates.baselines import frozen_video
from worldtune.evaluation.cases.case import BASE_DOMAIN, Case, Video, video_from_frames
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.comparison.gates import (
    DEFAULT,
    DREAMS,
    EXIT_CODES,
    MANDATORY,
    NO_GATES,
    SHIPPED,
    Gate,
    GatePolicy,
    GateResult,
    Outcome,
    apply_gates,
    apply_gates_to_all,
    describe_outcome,
    find_baselines,
    overall_outcome,
    read_gate_policy,
)
from worldtune.evaluation.comparison.recompute import recompute
from worldtune.evaluation.metrics.end_points import MAX_ERROR_OVER_SPREAD
from worldtune.evaluation.results import Comparison

from ..clips import candidates, cases, moving_square

LOADED = "129 tensors"
DIFFERS_NAME, MOVES_NAME = MANDATORY


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    held_out = cases(12)
    still = {case.name: [frozen_video(case)] for case in held_out}
    clips = {**candidates(held_out), "stuck": still}
    return compare(held_out, {**clips, "same": clips["base"]}, baselines=["DoRA"])


def outcomes(comparison: Comparison, candidate: str, *gates: Gate, incumbent: str | None = None) -> dict[str, Outcome]:
    gate_results = apply_gates(comparison, candidate, GatePolicy(gates=gates), LOADED, incumbent)
    return {gate_result.gate: gate_result.outcome for gate_result in gate_results}


def test_the_mandatory_gates_apply_without_a_policy(comparison: Comparison) -> None:
    assert outcomes(comparison, "LoRA") == {
        "every base tensor loaded": "pass",
        DIFFERS_NAME: "pass",
        MOVES_NAME: "pass",
    }
    assert overall_outcome(apply_gates(comparison, "LoRA", NO_GATES, LOADED)) == "pass"


def test_an_adapter_without_effect_fails(comparison: Comparison) -> None:
    assert outcomes(comparison, "same")[DIFFERS_NAME] == "fail"


def test_still_videos_fail(comparison: Comparison) -> None:
    assert outcomes(comparison, "stuck")[MOVES_NAME] == "fail"


def test_noise_is_not_motion_and_some_still_videos_do_not_pass() -> None:
    held_out = cases(12)
    clips = candidates(held_out)
    draw = np.random.default_rng(0)

    def noisy(case: Case) -> Video:
        still_THWC = frozen_video(case).read().astype(float)
        return video_from_frames((still_THWC + draw.normal(0, 2, still_THWC.shape)).clip(0, 255).astype(np.uint8))

    noise = {case.name: [noisy(case)] for case in held_out}
    some = {
        case.name: [frozen_video(case)] if place < 4 else clips["LoRA"][case.name]
        for place, case in enumerate(held_out)
    }
    found = compare(held_out, {"base": clips["base"], "noise": noise, "some": some})
    assert outcomes(found, "noise")[MOVES_NAME] == "fail"
    assert outcomes(found, "some")[MOVES_NAME] != "pass"


def test_a_missing_value_of_one_candidate_is_not_enough_evidence(comparison: Comparison) -> None:
    gate = Gate(metric="ssim", at_least=0.0)
    means = comparison.headline.results["LoRA"].means
    fewer = replace(means["ssim"], n=means["ssim"].n - 1)
    results = comparison.headline.results | {
        "LoRA": replace(comparison.headline.results["LoRA"], means=means | {"ssim": fewer})
    }
    holed = replace(comparison, headline=replace(comparison.headline, results=results))
    assert outcomes(comparison, "LoRA", gate)[gate.name] == "pass"
    (*_, gate_result) = apply_gates(holed, "LoRA", GatePolicy(gates=(gate,)), LOADED)
    assert gate_result.outcome == "not enough evidence"
    assert "only 11 of the 12 clips" in gate_result.why


def test_unknown_loaded_weights_are_not_enough_evidence(comparison: Comparison) -> None:
    gate_results = apply_gates(comparison, "LoRA", NO_GATES, None)
    assert gate_results[0].outcome == "not enough evidence"
    assert overall_outcome(gate_results) == "not enough evidence"


def test_the_whole_interval_must_satisfy_the_threshold(comparison: Comparison) -> None:
    gain = comparison.gain("LoRA")
    assert gain.mean is not None
    assert gain.low is not None
    assert gain.high is not None
    for at_least, outcome in (
        (gain.low - 0.01, "pass"),
        (gain.mean, "not enough evidence"),
        (gain.high + 0.01, "fail"),
    ):
        gate = Gate(metric="psnr_db", over="base", at_least=at_least)
        assert outcomes(comparison, "LoRA", gate)[gate.name] == outcome
    psnr = comparison.headline.results["LoRA"].means["psnr_db"]
    assert psnr.low is not None
    assert psnr.high is not None
    for at_most, outcome in ((psnr.high + 0.01, "pass"), (psnr.low - 0.01, "fail")):
        gate = Gate(metric="psnr_db", at_most=at_most)
        assert outcomes(comparison, "LoRA", gate)[gate.name] == outcome


def test_few_episodes_or_a_wide_interval_is_not_enough_evidence(comparison: Comparison) -> None:
    many = Gate(metric="psnr_db", over="base", at_least=0.1, episodes=13)
    wide = Gate(metric="psnr_db", over="base", at_least=0.1, interval=0.01)
    assert outcomes(comparison, "LoRA", many)[many.name] == "not enough evidence"
    assert outcomes(comparison, "LoRA", wide)[wide.name] == "not enough evidence"
    assert (
        outcomes(comparison, "same", wide.model_copy(update={"at_least": 0.0}))["PSNR better than base by ≥ 0 dB"]
        == "pass"
    )


def test_a_metric_that_was_not_run_is_not_enough_evidence(comparison: Comparison) -> None:
    gate = Gate(metric="lpips", at_most=0.2)
    (*_, gate_result) = apply_gates(comparison, "LoRA", GatePolicy(gates=(gate,)), LOADED)
    assert (gate_result.outcome, gate_result.why) == ("not enough evidence", "not run: not requested")


def test_a_gate_by_task_has_a_result_for_each_task(comparison: Comparison) -> None:
    gate = Gate(metric="psnr_db", over="base", at_least=0.1, by="task")
    found = outcomes(comparison, "LoRA", gate)
    tasks = [name for name in found if name.startswith(gate.name)]
    assert len(tasks) == 3
    assert {found[name] for name in tasks} == {"not enough evidence"}  # four episodes each


def test_a_gate_over_the_incumbent_compares_with_it(comparison: Comparison) -> None:
    gate = Gate(metric="psnr_db", over="incumbent", at_least=0.0)
    assert outcomes(comparison, "LoRA", gate, incumbent="DoRA")[gate.name] == "pass"
    assert outcomes(comparison, "base", gate, incumbent="DoRA")[gate.name] == "fail"
    assert outcomes(comparison, "DoRA", gate, incumbent="DoRA")[gate.name] == "not enough evidence"


def test_a_baseline_that_was_not_compared_is_not_enough_evidence(comparison: Comparison) -> None:
    gate = Gate(metric="psnr_db", over="nearest training clip", at_least=0.0)
    (*_, gate_result) = apply_gates(comparison, "LoRA", GatePolicy(gates=(gate,)), LOADED)
    assert (gate_result.outcome, gate_result.why) == ("not enough evidence", "nearest training clip was not compared")


def test_a_gate_over_a_missing_incumbent_is_not_enough_evidence(comparison: Comparison) -> None:
    gate = Gate(metric="psnr_db", over="incumbent", at_least=0.0)
    assert outcomes(comparison, "LoRA", gate)[gate.name] == "not enough evidence"


def test_gates_apply_to_every_tested_candidate(comparison: Comparison) -> None:
    found = apply_gates_to_all(comparison, NO_GATES, {"LoRA": LOADED, "stuck": ""})
    assert list(found) == ["LoRA", "DoRA", "stuck", "same"]
    assert [gate_results[0].outcome for gate_results in found.values()] == ["pass", *["not enough evidence"] * 3]


def test_an_unknown_baseline_is_an_error() -> None:
    policy = GatePolicy(gates=(Gate(metric="psnr_db", over="incumbent", at_least=0.0),))
    with pytest.raises(RecipeError, match="there is no incumbent"):
        find_baselines(policy, None, ["base"])
    with pytest.raises(RecipeError, match="'LoRA', which is not a candidate"):
        find_baselines(policy, "LoRA", ["base"])
    assert find_baselines(policy, "LoRA", ["base", "LoRA"]) == ["LoRA"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gates: [{metric: psnr, at_least: 1}]", "unknown metric 'psnr'"),
        ("gates: [{metric: psnr_db}]", "either at_least or at_most"),
        ("gates: [{metric: psnr_db, at_least: 1, at_most: 2}]", "either at_least or at_most"),
        ("gates: [{metric: base_difference, over: base, at_least: 1}]", "no better direction"),
        ("gates: [{metric: psnr_db, at_least: .nan}]", "not a finite number"),
        ("gates: [{metric: psnr_db, at_least: 1, episodes: 2}]", "episodes"),
        ("gates: [{metric: psnr_db, at_leest: 1}]", "at_leest"),
        ("mandatory: []", "mandatory"),
        ("gates: {", "not YAML"),
        ("3", "3"),
    ],
)
def test_an_invalid_policy_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_gate_policy(path)


def test_a_policy_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text("gates:\n  - {metric: psnr_db, over: base, at_least: 1.0, episodes: 10, by: camera}\n")
    assert read_gate_policy(path).gates[0] == Gate(metric="psnr_db", over="base", at_least=1, episodes=10, by="camera")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_gate_policy(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("results", "outcome"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "not enough evidence"], "not enough evidence"),
        (["pass", "not enough evidence", "fail"], "fail"),
        ([], "not enough evidence"),
    ],
)
def test_one_failure_fails_all(results: list[Outcome], outcome: Outcome) -> None:
    assert overall_outcome([GateResult("a gate", result, "") for result in results]) == outcome
    assert len(set(EXIT_CODES.values())) == 3


OVER_BASE, OVER_FROZEN, PATH, OBEDIENCE, MEMORY, FORGETTING = (gate.name for gate in read_gate_policy(DEFAULT).gates)


@pytest.fixture(scope="module")
def tried() -> Comparison:
    """A good adapter, one that forgets the base domain, and candidates that are bad for a known reason."""
    held_out = [
        replace(case, reference=video_from_frames(moving_square(int(case.name[:6]), frames=5)))
        for case in [*cases(10), *cases(6, BASE_DOMAIN, first=40)]
    ]
    clips = {
        name: {
            case.name: [video_from_frames(moving_square(int(case.name[:6]), lag=lag, noise=3, frames=5))]
            for case in held_out
        }
        for name, lag in {"base": 0.8, "LoRA": 0.1}.items()
    }
    forgotten = {case.name: [video_from_frames(255 - case.reference.read())] for case in held_out[10:]}
    forgets = clips["LoRA"] | forgotten
    sound = clips["LoRA"] | {name: clips["base"][name] for name in forgotten}
    bad = {
        "forgets": forgets,
        "frozen": {case.name: [frozen_video(case)] for case in held_out},
        "smear": {case.name: [video_from_frames(smear(case.reference.read()))] for case in held_out},
        "same": clips["base"],
    }
    return compare(held_out, {"base": clips["base"], "sound": sound, **bad})


def test_the_default_gates_pass_good_and_fail_bad_candidates(tried: Comparison) -> None:
    policy = read_gate_policy(DEFAULT)
    found = apply_gates_to_all(tried, policy, dict.fromkeys(tried.tested_candidates, LOADED))
    outcomes = {name: {result.gate: result.outcome for result in results} for name, results in found.items()}
    assert {name: overall_outcome(results) for name, results in found.items()} == {
        "sound": "pass", "forgets": "fail", "frozen": "fail", "smear": "fail", "same": "fail",
    }  # fmt: skip
    assert [gate for gate, outcome in outcomes["forgets"].items() if outcome == "fail"] == [FORGETTING]
    assert outcomes["frozen"][OVER_FROZEN] == "fail"
    assert outcomes["same"][OVER_BASE] == "fail"
    assert [outcomes["sound"][gate] for gate in (PATH, OBEDIENCE, MEMORY)] == ["does not apply"] * 3


def test_an_optional_gate_does_not_apply_if_nothing_was_measured(comparison: Comparison) -> None:
    required = Gate(metric="psnr_db", over="base", domain="base domain", at_least=-3)
    optional = required.model_copy(update={"optional": True})
    assert outcomes(comparison, "LoRA", required)[required.name] == "not enough evidence"
    gate_results = apply_gates(comparison, "LoRA", GatePolicy(gates=(optional,)), LOADED)
    assert (gate_results[-1].outcome, overall_outcome(gate_results)) == ("does not apply", "pass")
    assert overall_outcome([GateResult("a gate", "does not apply", "")]) == "not enough evidence"


def test_too_few_episodes_do_not_pass_the_default_gates(tried: Comparison) -> None:
    fewer = [replace(row, episode=str(place % 9)) for place, row in enumerate(tried.rows)]
    few = recompute(replace(tried, rows=fewer))
    gate_results = apply_gates(few, "sound", read_gate_policy(DEFAULT), LOADED)
    assert overall_outcome(gate_results) == "not enough evidence"
    assert "only 9 of 10 required episodes" in next(
        gate_result.why for gate_result in gate_results if gate_result.gate == OVER_BASE
    )


def test_passed_checks_are_not_reported_as_passed_gates(comparison: Comparison) -> None:
    gate_results = apply_gates(comparison, "LoRA", NO_GATES, LOADED)
    assert describe_outcome(NO_GATES, gate_results) == "checks: pass; no quality gates"
    assert describe_outcome(GatePolicy(gates=(Gate(metric="ssim", at_least=0),)), gate_results) == "gates: pass"


def test_the_documentation_shows_the_shipped_gates() -> None:
    page = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
    for file in SHIPPED.values():
        assert f"```yaml\n{file.read_text()}```" in page


def test_the_gates_of_dreams_ask_for_end_points_that_follow_the_layout() -> None:
    gates = {gate.metric: gate for gate in read_gate_policy(DREAMS).gates}
    assert gates["end_point_over_spread"].at_most == MAX_ERROR_OVER_SPREAD
    assert not gates["end_point_over_spread"].optional
    assert not gates["end_point_slope"].optional


def measured(outcome: Comparison, slopes: dict[str, float], ratios: dict[str, float]) -> Comparison:
    """Return the comparison with narrow intervals around the given end-point slopes and errors over spread."""
    results = {
        name: replace(
            result,
            means=result.means
            | {
                metric: MeanEstimate(value[name], value[name] - 0.05, value[name] + 0.05, 12, 12)
                for metric, value in (("end_point_slope", slopes), ("end_point_over_spread", ratios))
                if name in value
            },
        )
        for name, result in outcome.headline.results.items()
    }
    not_run = {metric: why for metric, why in outcome.not_run.items() if not metric.startswith("end_point")}
    return replace(outcome, headline=replace(outcome.headline, results=results), not_run=not_run)


@pytest.mark.parametrize(
    ("ratio", "outcome"), [(0.39, "pass"), (0.47, "pass"), (0.62, "not enough evidence"), (0.78, "fail")]
)
def test_the_known_dreams_are_told_apart(comparison: Comparison, ratio: float, outcome: str) -> None:
    names = comparison.candidates
    found = measured(comparison, dict.fromkeys(names, 0.88), dict.fromkeys(names, ratio))
    results = {result.gate: result.outcome for result in apply_gates(found, "LoRA", read_gate_policy(DREAMS), LOADED)}
    assert results["end point over spread ≤ 0.6 ×"] == outcome
    assert results["end-point slope ≥ 0.5 ×"] == "pass"


def test_dreams_without_a_reader_of_paths_do_not_pass(comparison: Comparison) -> None:
    results = apply_gates(comparison, "LoRA", read_gate_policy(DREAMS), LOADED)
    assert overall_outcome(results) == "not enough evidence"
