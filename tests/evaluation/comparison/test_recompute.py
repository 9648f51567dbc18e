"""Results are recomputed from their own scores, and a file that states other results is rejected."""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from worldtune.errors import DataError
from worldtune.evaluation.cases.case import BASE_DOMAIN, Video, video_from_frames
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.comparison.gates import NO_GATES, Gate, GatePolicy, apply_gates_to_all
from worldtune.evaluation.comparison.recompute import check_gate_results, find_difference, recompute
from worldtune.evaluation.report.comparison_figures import comparison_figures
from worldtune.evaluation.report.figures import figure
from worldtune.evaluation.report.folder import ReportContent, rebuild_report, write_report
from worldtune.evaluation.report.saved_report import SavedReport, parse_report, read_report
from worldtune.evaluation.results import NEAREST, Group
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.metric_definitions import METRICS
from worldtune.evaluation.scoring.pixel_metrics import VideoPair

from ..clips import cases, moving_square

JUDGED = [
    replace(case, reference=video_from_frames(moving_square(int(case.name[:6]), frames=5)))
    for case in (*cases(6), *cases(1, BASE_DOMAIN, first=30))
]
GROUP = TypeAdapter(Group)
GROUPS = ("headline", "domains", "tasks", "cameras", "matrix")
POLICY = GatePolicy(
    gates=(
        Gate(metric="psnr_db", over="base", at_least=0.5),
        Gate(metric="psnr_db", over="incumbent", at_least=-50, by="task"),
        Gate(metric="ssim", over="first frame frozen", at_least=-1, by="camera"),
        Gate(metric="judge_physics", at_least=1),
        Gate(metric="lpips", at_most=0.2),
    )
)


class Judged:
    """A scorer that ignores the pixels. One clip has no rating, and the clips have different weights of the path."""

    names = ("judge_physics", "path_slope")
    digest = "judged"

    def score(self, pair: VideoPair) -> Scores:
        number = int(pair.case.name[:6])
        values = {"judge_physics": None if number == 3 else 1.0 + number % 5, "path_slope": 0.1 + number / 8}
        return Scores(values, weights={"path_slope": 1.0 + number / 3})


def seed_scores(lag: float, *noises: float) -> dict[str, list[Video]]:
    return {
        case.name: [
            video_from_frames(moving_square(int(case.name[:6]), lag=lag, noise=noise, frames=5)) for noise in noises
        ]
        for case in JUDGED
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, both controls, an incumbent, two domains, metrics of every kind, gates of every kind."""
    clips = {
        "base": seed_scores(0.8, 6, 7),
        "LoRA": seed_scores(0.1, 3, 2),
        "old": seed_scores(0.2, 3),
        NEAREST: seed_scores(0.5, 0),
    }
    plan = SamplingPlan(steps=2, seeds=(7, 8))
    made = compare(JUDGED, clips, baselines=[NEAREST, "old"], seeds=plan.seeds, scorers=[Judged()])
    content = ReportContent(
        title="A real evaluation",
        verdict_subject="LoRA",
        comparison=made,
        cases=JUDGED,
        candidates=clips,
        figures=[figure(name, value, "", "higher") for name, value in comparison_figures(made).items()],
        curves={},
        lineage={},
        retention=[],
        reproduce="make demo",
        fps=16.0,
        policy=POLICY,
        loaded={"LoRA": "129 tensors"},
        incumbent="old",
        plan=plan,
    )
    return write_report(tmp_path_factory.mktemp("run") / "report", content).parent / "results.json"


@pytest.fixture(scope="module")
def saved(written: Path) -> SavedReport:
    return read_report(written)


@pytest.fixture
def value(written: Path) -> Any:
    return json.loads(written.read_text())


def test_results_are_recomputed_bit_for_bit(saved: SavedReport, written: Path) -> None:
    assert recompute(saved.comparison) == saved.comparison
    assert json.loads(json.dumps(saved.to_json())) == json.loads(written.read_text())
    assert {gate_result.outcome for gate_result in saved.gate_results["LoRA"]} == {"pass", "not enough evidence"}
    assert rebuild_report(written).is_file()


def test_differences_in_the_last_bits_are_accepted(value: Any) -> None:
    for parent, key in numbers([value["comparison"][name] for name in GROUPS]):
        if isinstance(parent[key], float):
            parent[key] = math.nextafter(parent[key], math.inf) * (1 + 1e-12)
    parse_report(value, where="results.json")


def numbers(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the mapping or list that holds each number, and the number's key."""
    for key, child in list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)):
        if isinstance(child, dict | list):
            yield from numbers(child)
        elif isinstance(child, int | float):
            yield tree, key


@pytest.fixture(scope="module")
def groups(saved: SavedReport) -> list[tuple[Group, str]]:
    """Each group as computed from the scores, and as JSON of what the file states."""
    computed, stated = recompute(saved.comparison), saved.comparison.to_json()
    pairs = [(computed.headline, stated["headline"])]
    for name in GROUPS[1:]:
        pairs += zip(getattr(computed, name), stated[name], strict=True)
    return [(group, json.dumps(stated_group)) for group, stated_group in pairs]


@given(st.integers(0), st.integers(0), st.sampled_from([1e-6, -1e-6, 1.0, -0.5, 1e6]))
@settings(max_examples=60, deadline=None)
def test_a_changed_number_in_a_group_is_detected(
    groups: list[tuple[Group, str]], which: int, draw: int, by: float
) -> None:
    computed, text = groups[which % len(groups)]
    tampered = json.loads(text)
    locations = list(numbers(tampered))
    tree, key = locations[draw % len(locations)]
    before = tree[key]
    tree[key] = before + (by if isinstance(before, float) else math.copysign(1, by))
    fault = find_difference(GROUP.validate_python(tampered), computed)
    assert fault is not None
    assert str(key) in fault


@given(st.integers(0), st.sampled_from("0123456789"))
@settings(max_examples=60, deadline=None)
def test_a_changed_digit_in_a_gate_result_is_detected(saved: SavedReport, draw: int, digit: str) -> None:
    gate_results = [(name, index) for name, results in saved.gate_results.items() for index, _ in enumerate(results)]
    name, index = gate_results[draw % len(gate_results)]
    gate_result = saved.gate_results[name][index]
    digits = [at for at, letter in enumerate(gate_result.why) if letter.isdigit() and letter != digit]
    if not digits:
        return
    at = digits[draw % len(digits)]
    changed = replace(gate_result, why=gate_result.why[:at] + digit + gate_result.why[at + 1 :])
    tampered = {
        **saved.gate_results,
        name: [changed if at == index else result for at, result in enumerate(saved.gate_results[name])],
    }
    with pytest.raises(DataError, match=f"the gates of '{name}' contradict the scores"):
        check_gate_results(tampered, saved.comparison, saved.policy, saved.loaded, saved.incumbent, "results.json")


def test_counts_verdicts_and_names_must_be_equal(saved: SavedReport) -> None:
    computed = recompute(saved.comparison)
    gain = computed.headline.results["LoRA"].against["base"]["psnr_db"]
    for changed in (
        {"wins": gain.wins - 1}, {"losses": 1}, {"n": 7}, {"episodes": 7}, {"verdict": "no difference shown"},
        {"low": None}, {"mean": math.nan},
    ):  # fmt: skip
        paired = replace(gain, **changed)  # type: ignore[arg-type]
        assert next(iter(changed)) in str(find_difference(paired, gain))
    assert find_difference(gain, gain) is None


def comparison(value: Any) -> Any:
    return value["comparison"]


def raise_gate_result(value: Any) -> None:
    value["gate_results"]["old"][0]["outcome"] = "pass"


def raise_group(value: Any) -> None:
    comparison(value)["headline"]["results"]["LoRA"]["means"]["ssim"]["low"] += 0.01


def raise_group_and_gate_result(value: Any) -> None:
    """Change a group and the gate result that follows from it, but not the scores."""
    for group in (comparison(value)["headline"], *comparison(value)["cameras"]):
        group["results"]["old"]["against"]["base"]["psnr_db"] = group["results"]["LoRA"]["against"]["base"]["psnr_db"]
    value["gate_results"]["old"][3] = value["gate_results"]["LoRA"][3]


def raise_score(value: Any) -> None:
    comparison(value)["rows"][0]["scores"]["LoRA"]["values"]["ssim"] = 0.999


def raise_seed_score(value: Any) -> None:
    comparison(value)["rows"][0]["seed_scores"]["LoRA"][1]["values"]["psnr_db"] += 1


def weaken_policy(value: Any) -> None:
    value["policy"]["gates"][0]["at_least"] = -100.0


def weaken_policy_and_digest(value: Any) -> None:
    value["policy"]["gates"] = value["policy"]["gates"][:1]
    value["gates"] = GatePolicy(gates=POLICY.gates[:1]).digest


def drop_policy(value: Any) -> None:
    value["policy"] = {"gates": []}
    value["gates"] = NO_GATES.digest


def drop_mandatory(value: Any) -> None:
    del value["gate_results"]["LoRA"][2]


def drop_all(value: Any) -> None:
    value["gate_results"] = {}


def empty_gate_results(value: Any) -> None:
    value["gate_results"]["LoRA"] = []


def invented_gate(value: Any) -> None:
    value["gate_results"]["LoRA"] = [{"gate": "looks good", "outcome": "pass", "why": ""}]


def additional_gate(value: Any) -> None:
    value["gate_results"]["LoRA"].append({"gate": "looks good", "outcome": "pass", "why": ""})


def swap_gate_results(value: Any) -> None:
    value["gate_results"]["LoRA"], value["gate_results"]["old"] = (
        value["gate_results"]["old"],
        value["gate_results"]["LoRA"],
    )


def rename_in_gate_results(value: Any) -> None:
    value["gate_results"]["new"] = value["gate_results"].pop("LoRA")


def rename_in_scores(value: Any) -> None:
    comparison(value)["candidates"][1] = "new"


def claim_loaded(value: Any) -> None:
    value["loaded"]["old"] = "129 tensors"


def claim_loaded_base(value: Any) -> None:
    value["loaded"]["base"] = "129 tensors"


def another_incumbent(value: Any) -> None:
    value["incumbent"] = None


def base_as_incumbent(value: Any) -> None:
    value["incumbent"] = "base"


def another_suite(value: Any) -> None:
    value["suite"] = "5" * 64


def another_plan(value: Any) -> None:
    value["plan"]["steps"] = 12


def no_plan(value: Any) -> None:
    value["plan"] = None


def another_clip(value: Any) -> None:
    comparison(value)["rows"][0]["digest"] = "0" * 64


def another_seed(value: Any) -> None:
    comparison(value)["rows"][0]["seed_scores"]["LoRA"][0]["seed"] = 99


def better_verdict(value: Any) -> None:
    value["verdict"] = "The LoRA adapter is perfect."


def better_figure(value: Any) -> None:
    value["figures"][3]["value"] += 3


def best_seed(value: Any) -> None:
    shown = value["shown_seeds"]
    case = next(iter(shown))
    shown[case] = 15 - shown[case]


def leave_out_baseline(value: Any) -> None:
    for group in (comparison(value)["headline"], *(group for name in GROUPS[1:] for group in comparison(value)[name])):
        for result in group["results"].values():
            result["against"].pop("base", None)


def leave_out_clip(value: Any) -> None:
    comparison(value)["rows"].pop(0)


def leave_out_group(value: Any) -> None:
    comparison(value)["tasks"].pop()


def leave_out_metric(value: Any) -> None:
    comparison(value)["not_run"]["moves"] = "not requested"


def leave_out_score(value: Any) -> None:
    del comparison(value)["rows"][1]["scores"]["LoRA"]["values"]["ssim"]


def leave_out_seed_scores(value: Any) -> None:
    comparison(value)["rows"][1]["seed_scores"]["LoRA"] = []


def leave_out_curve(value: Any) -> None:
    comparison(value)["rows"][1]["scores"]["LoRA"]["curves"] = {}


def no_rows(value: Any) -> None:
    comparison(value)["rows"] = []


def same_clip_twice(value: Any) -> None:
    comparison(value)["rows"].append(comparison(value)["rows"][0])


def third_seed(value: Any) -> None:
    seed_scores = comparison(value)["rows"][1]["seed_scores"]
    seed_scores["LoRA"].append(seed_scores["LoRA"][0])


def null_psnr(value: Any) -> None:
    comparison(value)["rows"][1]["scores"]["LoRA"]["values"]["psnr_db"] = None


def huge_curve(value: Any) -> None:
    comparison(value)["rows"][1]["scores"]["LoRA"]["curves"]["psnr_db"][0] = 1e300


def tiny_curve(value: Any) -> None:
    comparison(value)["rows"][1]["scores"]["LoRA"]["curves"]["psnr_db"][0] = -1e300


def huge_score(value: Any) -> None:
    row = comparison(value)["rows"][1]
    row["scores"]["LoRA"]["values"]["ssim"] = 1e308
    for seed_score in row["seed_scores"]["LoRA"]:
        seed_score["values"]["ssim"] = 1e308


def unknown_gate(value: Any) -> None:
    value["policy"]["gates"][0]["metric"] = "beauty"


EDITS = {
    raise_gate_result: "the gates of 'old' contradict the scores: every base tensor loaded: pass",
    raise_group: "headline.results.LoRA.means.ssim.low is",
    raise_group_and_gate_result: "headline.results.old.against.base.psnr_db.mean is",
    raise_score: "ssim of LoRA is 0.999, the mean over its seeds is",
    raise_seed_score: "psnr_db of LoRA is",
    weaken_policy: "the gates' policy has the digest",
    weaken_policy_and_digest: "the policy has no gate",
    drop_policy: "the policy has no gate",
    drop_mandatory: "the gate 'moves, in ≥ 0.8 of its videos' is missing",
    drop_all: "no gates for 'LoRA'",
    empty_gate_results: "the gate 'every base tensor loaded' is missing",
    invented_gate: "the gate 'every base tensor loaded' is missing",
    additional_gate: "the policy has no gate 'looks good'",
    swap_gate_results: "the gates of 'LoRA' contradict the scores",
    rename_in_gate_results: "no gates for 'LoRA'",
    rename_in_scores: "the columns are not the compared candidates",
    claim_loaded: "the gates of 'old' contradict the scores: every base tensor loaded",
    claim_loaded_base: "not the tested candidates",
    another_incumbent: "the gates of 'LoRA' contradict the scores",
    base_as_incumbent: "the incumbent is not a tested candidate",
    another_suite: "the suite's digest is not that of the clips and the plan",
    another_plan: "the suite's digest is not that of the clips and the plan",
    no_plan: "the suite's digest is not that of the clips and the plan",
    another_clip: "the suite's digest is not that of the clips and the plan",
    another_seed: "the seeds of LoRA are not those of the plan",
    better_verdict: "the verdict does not follow from the scores",
    better_figure: "the figures contradict the scores: LoRA: PSNR gain over the base is",
    best_seed: "the shown seeds do not follow",
    leave_out_baseline: "was not compared with base",
    leave_out_clip: "expected",
    leave_out_group: "tasks has 2 entries, expected 3",
    leave_out_metric: "'moves' is not an optional metric",
    leave_out_score: "its metrics are not those that were run",
    leave_out_seed_scores: "different numbers of seeds",
    leave_out_curve: "its curves are not those of the others",
    no_rows: "there are no clips",
    same_clip_twice: "two share a name",
    third_seed: "different numbers of seeds",
    null_psnr: "its metrics are not those that were run",
    huge_curve: "the means of the scores cannot be computed",
    tiny_curve: "the means of the scores cannot be computed",
    huge_score: "the means of the scores cannot be computed",
    unknown_gate: "unknown metric 'beauty'",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_edited_results_are_rejected_with_the_reason(value: Any, edit: Any) -> None:
    edit(value)
    with pytest.raises(DataError) as error:
        parse_report(value, where="results.json")
    assert EDITS[edit] in error.value.what
    assert "\n" not in str(error.value)


def test_changed_scores_with_recomputed_results_are_accepted(saved: SavedReport) -> None:
    """The file alone cannot reveal this. Only the evaluator's signature vouches for the scores."""
    rows = copy.deepcopy(saved.comparison.rows)
    for scores in (rows[0].scores["LoRA"].values, *(seed_score.values for seed_score in rows[0].seed_scores["LoRA"])):
        scores["ssim"] = 0.5
    stated = recompute(replace(saved.comparison, rows=rows))
    gate_results = apply_gates_to_all(stated, saved.policy, saved.loaded, saved.incumbent)
    changed = replace(saved, comparison=stated, gate_results=gate_results)
    assert parse_report(changed.to_json(), where="results.json") == changed


def test_reciprocal_ratios_are_equally_good_on_every_machine() -> None:
    good = METRICS["match_ratio"].goodness
    for up, down in ((4, 3), (7, 5), (90, 41), (1000, 999)):
        assert good(up / down) == good(down / up)


def test_a_boolean_is_not_a_number(value: Any) -> None:
    value["comparison"]["rows"][0]["frames"] = True
    with pytest.raises(DataError, match=r"'comparison\.rows\.0\.frames' is True: a boolean"):
        parse_report(value, where="results.json")
