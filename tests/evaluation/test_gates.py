"""A policy of gates, ruled on comparisons whose outcome is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worldtune.errors import RecipeError
from worldtune.evaluation.case import Case, Video, held
from worldtune.evaluation.compare import compare
from worldtune.evaluation.comparison import Comparison
from worldtune.evaluation.controls import frozen
from worldtune.evaluation.gates import (
    EXIT_CODES,
    MANDATORY,
    NOTHING_ASKED,
    Gate,
    Outcome,
    Policy,
    Ruling,
    outcome_of,
    read_policy,
    rivals_of,
    rule,
    rulings_of,
)

from .clips import candidates, cases

LOADED = "129 tensors"
DIFFERS_NAME, MOVES_NAME = MANDATORY


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    judged = cases(12)
    still = {case.name: [frozen(case)] for case in judged}
    clips = {**candidates(judged), "stuck": still}
    return compare(judged, {**clips, "same": clips["base"]}, rivals=["DoRA"])


def outcomes(comparison: Comparison, candidate: str, *gates: Gate, incumbent: str | None = None) -> dict[str, Outcome]:
    rulings = rule(comparison, candidate, Policy(gates=gates), LOADED, incumbent)
    return {ruling.gate: ruling.outcome for ruling in rulings}


def test_the_mandatory_gates_are_there_without_a_policy(comparison: Comparison) -> None:
    assert outcomes(comparison, "LoRA") == {
        "every base tensor loaded": "pass",
        DIFFERS_NAME: "pass",
        MOVES_NAME: "pass",
    }
    assert outcome_of(rule(comparison, "LoRA", NOTHING_ASKED, LOADED)) == "pass"


def test_the_adapter_that_does_nothing_fails(comparison: Comparison) -> None:
    assert outcomes(comparison, "same")[DIFFERS_NAME] == "fail"


def test_the_video_that_does_not_move_fails(comparison: Comparison) -> None:
    assert outcomes(comparison, "stuck")[MOVES_NAME] == "fail"


def test_noise_on_a_still_picture_and_videos_of_which_some_are_stuck_do_not_pass() -> None:
    judged = cases(12)
    clips = candidates(judged)
    draw = np.random.default_rng(0)

    def noisy(case: Case) -> Video:
        still_THWC = frozen(case).read().astype(float)
        return held((still_THWC + draw.normal(0, 2, still_THWC.shape)).clip(0, 255).astype(np.uint8))

    noise = {case.name: [noisy(case)] for case in judged}
    some = {case.name: [frozen(case)] if place < 4 else clips["LoRA"][case.name] for place, case in enumerate(judged)}
    found = compare(judged, {"base": clips["base"], "noise": noise, "some": some})
    assert outcomes(found, "noise")[MOVES_NAME] == "fail"
    assert outcomes(found, "some")[MOVES_NAME] != "pass"


def test_clips_that_a_candidate_alone_has_no_value_of_are_not_left_out_of_its_gate(comparison: Comparison) -> None:
    gate = Gate(metric="ssim", at_least=0.0)
    means = comparison.headline.results["LoRA"].means
    fewer = replace(means["ssim"], n=means["ssim"].n - 1)
    results = comparison.headline.results | {
        "LoRA": replace(comparison.headline.results["LoRA"], means=means | {"ssim": fewer})
    }
    holed = replace(comparison, headline=replace(comparison.headline, results=results))
    assert outcomes(comparison, "LoRA", gate)[gate.name] == "pass"
    (*_, ruling) = rule(holed, "LoRA", Policy(gates=(gate,)), LOADED)
    assert ruling.outcome == "not enough evidence"
    assert "only 11 of the 12 clips" in ruling.why


def test_what_nobody_saw_loaded_is_not_enough_evidence(comparison: Comparison) -> None:
    rulings = rule(comparison, "LoRA", NOTHING_ASKED, None)
    assert rulings[0].outcome == "not enough evidence"
    assert outcome_of(rulings) == "not enough evidence"


def test_the_whole_interval_must_keep_to_the_threshold(comparison: Comparison) -> None:
    gain = comparison.gain("LoRA")
    assert gain.mean is not None
    assert gain.low is not None
    assert gain.high is not None
    for least, outcome in (
        (gain.low - 0.01, "pass"),
        (gain.mean, "not enough evidence"),
        (gain.high + 0.01, "fail"),
    ):
        gate = Gate(metric="psnr_db", over="base", at_least=least)
        assert outcomes(comparison, "LoRA", gate)[gate.name] == outcome
    psnr = comparison.headline.results["LoRA"].means["psnr_db"]
    assert psnr.low is not None
    assert psnr.high is not None
    for most, outcome in ((psnr.high + 0.01, "pass"), (psnr.low - 0.01, "fail")):
        gate = Gate(metric="psnr_db", at_most=most)
        assert outcomes(comparison, "LoRA", gate)[gate.name] == outcome


def test_too_few_episodes_or_too_wide_an_interval_is_not_enough(comparison: Comparison) -> None:
    many = Gate(metric="psnr_db", over="base", at_least=0.1, episodes=13)
    wide = Gate(metric="psnr_db", over="base", at_least=0.1, interval=0.01)
    assert outcomes(comparison, "LoRA", many)[many.name] == "not enough evidence"
    assert outcomes(comparison, "LoRA", wide)[wide.name] == "not enough evidence"
    assert (
        outcomes(comparison, "same", wide.model_copy(update={"at_least": 0.0}))["PSNR better than base by ≥ 0 dB"]
        == "pass"
    )


def test_a_metric_that_was_not_run_is_not_enough(comparison: Comparison) -> None:
    gate = Gate(metric="lpips", at_most=0.2)
    (*_, ruling) = rule(comparison, "LoRA", Policy(gates=(gate,)), LOADED)
    assert (ruling.outcome, ruling.why) == ("not enough evidence", "not run: not asked for")


def test_by_task_each_task_has_a_ruling(comparison: Comparison) -> None:
    gate = Gate(metric="psnr_db", over="base", at_least=0.1, by="task")
    found = outcomes(comparison, "LoRA", gate)
    tasks = [name for name in found if name.startswith(gate.name)]
    assert len(tasks) == 3
    assert {found[name] for name in tasks} == {"not enough evidence"}  # four episodes each


def test_over_the_incumbent(comparison: Comparison) -> None:
    gate = Gate(metric="psnr_db", over="incumbent", at_least=0.0)
    assert outcomes(comparison, "LoRA", gate, incumbent="DoRA")[gate.name] == "pass"
    assert outcomes(comparison, "base", gate, incumbent="DoRA")[gate.name] == "fail"
    assert outcomes(comparison, "DoRA", gate, incumbent="DoRA")[gate.name] == "not enough evidence"


def test_a_gate_over_what_was_not_compared_is_not_enough(comparison: Comparison) -> None:
    gate = Gate(metric="psnr_db", over="nearest training clip", at_least=0.0)
    (*_, ruling) = rule(comparison, "LoRA", Policy(gates=(gate,)), LOADED)
    assert (ruling.outcome, ruling.why) == ("not enough evidence", "nearest training clip was not compared")


def test_a_gate_over_an_incumbent_that_nobody_named_is_not_of_the_value_itself(comparison: Comparison) -> None:
    gate = Gate(metric="psnr_db", over="incumbent", at_least=0.0)
    assert outcomes(comparison, "LoRA", gate)[gate.name] == "not enough evidence"


def test_every_judged_candidate_is_ruled_on(comparison: Comparison) -> None:
    found = rulings_of(comparison, NOTHING_ASKED, {"LoRA": LOADED, "stuck": ""})
    assert list(found) == ["LoRA", "DoRA", "stuck", "same"]
    assert [rulings[0].outcome for rulings in found.values()] == ["pass", *["not enough evidence"] * 3]


def test_a_gate_over_what_is_not_compared_is_refused_before_the_work() -> None:
    policy = Policy(gates=(Gate(metric="psnr_db", over="incumbent", at_least=0.0),))
    with pytest.raises(RecipeError, match="none is named"):
        rivals_of(policy, None, ["base"])
    with pytest.raises(RecipeError, match="'LoRA', which is not compared"):
        rivals_of(policy, "LoRA", ["base"])
    assert rivals_of(policy, "LoRA", ["base", "LoRA"]) == ["LoRA"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gates: [{metric: psnr, at_least: 1}]", "no metric is called 'psnr'"),
        ("gates: [{metric: psnr_db}]", "either at_least or at_most"),
        ("gates: [{metric: psnr_db, at_least: 1, at_most: 2}]", "either at_least or at_most"),
        ("gates: [{metric: differs, over: base, at_least: 1}]", "neither way is better"),
        ("gates: [{metric: psnr_db, at_least: .nan}]", "not a finite number"),
        ("gates: [{metric: psnr_db, at_least: 1, episodes: 2}]", "episodes"),
        ("gates: [{metric: psnr_db, at_leest: 1}]", "at_leest"),
        ("mandatory: []", "mandatory"),
        ("gates: {", "not YAML"),
        ("3", "3"),
    ],
)
def test_a_policy_that_says_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said):
        read_policy(path)


def test_a_policy_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text("gates:\n  - {metric: psnr_db, over: base, at_least: 1.0, episodes: 10, by: camera}\n")
    assert read_policy(path).gates[0] == Gate(metric="psnr_db", over="base", at_least=1, episodes=10, by="camera")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_policy(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("of", "outcome"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "not enough evidence"], "not enough evidence"),
        (["pass", "not enough evidence", "fail"], "fail"),
        ([], "not enough evidence"),
    ],
)
def test_one_failure_fails_all(of: list[Outcome], outcome: Outcome) -> None:
    assert outcome_of([Ruling("a gate", each, "") for each in of]) == outcome
    assert len(set(EXIT_CODES.values())) == 3
