"""Results are what follows from their own scores, and a file that states anything else is refused."""

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
from worldtune.evaluation.case import BASE_DOMAIN, Video, held
from worldtune.evaluation.compare import compare
from worldtune.evaluation.comparison import NEAREST, Group, Scores
from worldtune.evaluation.gates import NOTHING_ASKED, Gate, Policy, rulings_of
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.recompute import check_rulings, difference, recomputed
from worldtune.evaluation.report.compared_figures import compared_figures
from worldtune.evaluation.report.figures import figure
from worldtune.evaluation.report.folder import ReportContent, rebuild_report, write_report
from worldtune.evaluation.report.saved_report import SavedReport, parse_report, read_report
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.evaluation.scoring import Shot

from .clips import cases, moving_square

JUDGED = [
    replace(case, reference=held(moving_square(int(case.name[:6]), frames=5)))
    for case in (*cases(6), *cases(1, BASE_DOMAIN, first=30))
]
GROUP = TypeAdapter(Group)
GROUPS = ("headline", "domains", "tasks", "cameras", "matrix")
POLICY = Policy(
    gates=(
        Gate(metric="psnr_db", over="base", at_least=0.5),
        Gate(metric="psnr_db", over="incumbent", at_least=-50, by="task"),
        Gate(metric="ssim", over="first frame frozen", at_least=-1, by="camera"),
        Gate(metric="judge_physics", at_least=1),
        Gate(metric="lpips", at_most=0.2),
    )
)


class Judged:
    """Marks that are not in the pixels: of one clip there is none, and the path's clips do not count alike."""

    names = ("judge_physics", "path_slope")
    digest = "judged"

    def score(self, shot: Shot) -> Scores:
        number = int(shot.case.name[:6])
        values = {"judge_physics": None if number == 3 else 1.0 + number % 5, "path_slope": 0.1 + number / 8}
        return Scores(values, weights={"path_slope": 1.0 + number / 3})


def takes(lag: float, *noises: float) -> dict[str, list[Video]]:
    return {
        case.name: [held(moving_square(int(case.name[:6]), lag=lag, noise=noise, frames=5)) for noise in noises]
        for case in JUDGED
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, both controls, an incumbent, two domains, metrics of every kind, gates of every kind."""
    clips = {"base": takes(0.8, 6, 7), "LoRA": takes(0.1, 3, 2), "old": takes(0.2, 3), NEAREST: takes(0.5, 0)}
    plan = SamplingPlan(steps=2, seeds=(7, 8))
    made = compare(JUDGED, clips, rivals=[NEAREST, "old"], seeds=plan.seeds, scorers=[Judged()])
    content = ReportContent(
        title="A real evaluation",
        verdict_subject="LoRA",
        comparison=made,
        cases=JUDGED,
        candidates=clips,
        figures=[figure(name, value, "", "higher") for name, value in compared_figures(made).items()],
        curves={},
        lineage={},
        forgetting=[],
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


def test_a_real_evaluation_is_computed_again_bit_for_bit(saved: SavedReport, written: Path) -> None:
    assert recomputed(saved.comparison) == saved.comparison
    assert json.loads(json.dumps(saved.to_json())) == json.loads(written.read_text())
    assert {ruling.outcome for ruling in saved.rulings["LoRA"]} == {"pass", "not enough evidence"}
    assert rebuild_report(written).is_file()


def test_the_last_bits_of_another_machine_are_accepted(value: Any) -> None:
    for place, key in numbers([value["comparison"][name] for name in GROUPS]):
        if isinstance(place[key], float):
            place[key] = math.nextafter(place[key], math.inf) * (1 + 1e-12)
    parse_report(value, where="results.json")


def numbers(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Where each number is: its mapping or list, and its key."""
    for key, its in list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)):
        if isinstance(its, dict | list):
            yield from numbers(its)
        elif isinstance(its, int | float):
            yield tree, key


@pytest.fixture(scope="module")
def groups(saved: SavedReport) -> list[tuple[Group, str]]:
    """What follows from the scores for each group, and what the file states of it."""
    computed, stated = recomputed(saved.comparison), saved.comparison.to_json()
    of = [(computed.headline, stated["headline"])]
    for name in GROUPS[1:]:
        of += zip(getattr(computed, name), stated[name], strict=True)
    return [(group, json.dumps(its)) for group, its in of]


@given(st.integers(0), st.integers(0), st.sampled_from([1e-6, -1e-6, 1.0, -0.5, 1e6]))
@settings(max_examples=60, deadline=None)
def test_any_number_of_a_group_that_is_changed_is_noticed(
    groups: list[tuple[Group, str]], which: int, draw: int, by: float
) -> None:
    computed, text = groups[which % len(groups)]
    tampered = json.loads(text)
    places = list(numbers(tampered))
    tree, key = places[draw % len(places)]
    before = tree[key]
    tree[key] = before + (by if isinstance(before, float) else math.copysign(1, by))
    fault = difference(GROUP.validate_python(tampered), computed)
    assert fault is not None
    assert str(key) in fault


@given(st.integers(0), st.sampled_from("0123456789"))
@settings(max_examples=60, deadline=None)
def test_any_digit_of_a_ruling_that_is_changed_is_noticed(saved: SavedReport, draw: int, digit: str) -> None:
    rulings = [(name, place) for name, its in saved.rulings.items() for place, _ in enumerate(its)]
    name, place = rulings[draw % len(rulings)]
    ruling = saved.rulings[name][place]
    digits = [at for at, letter in enumerate(ruling.why) if letter.isdigit() and letter != digit]
    if not digits:
        return
    at = digits[draw % len(digits)]
    changed = replace(ruling, why=ruling.why[:at] + digit + ruling.why[at + 1 :])
    tampered = {**saved.rulings, name: [changed if at == place else its for at, its in enumerate(saved.rulings[name])]}
    with pytest.raises(DataError, match=f"the gates of '{name}' contradict the scores"):
        check_rulings(tampered, saved.comparison, saved.policy, saved.loaded, saved.incumbent, "results.json")


def test_counts_verdicts_and_names_must_be_equal(saved: SavedReport) -> None:
    computed = recomputed(saved.comparison)
    gain = computed.headline.results["LoRA"].against["base"]["psnr_db"]
    for changed in (
        {"wins": gain.wins - 1}, {"losses": 1}, {"n": 7}, {"episodes": 7}, {"verdict": "no difference shown"},
        {"low": None}, {"mean": math.nan},
    ):  # fmt: skip
        paired = replace(gain, **changed)  # type: ignore[arg-type]
        assert next(iter(changed)) in str(difference(paired, gain))
    assert difference(gain, gain) is None


def comparison(value: Any) -> Any:
    return value["comparison"]


def raise_ruling(value: Any) -> None:
    value["rulings"]["old"][0]["outcome"] = "pass"


def raise_group(value: Any) -> None:
    comparison(value)["headline"]["results"]["LoRA"]["means"]["ssim"]["low"] += 0.01


def raise_group_and_ruling(value: Any) -> None:
    """As a careful hand does: what the gates say follows from the group, and the group from nothing."""
    for group in (comparison(value)["headline"], *comparison(value)["cameras"]):
        group["results"]["old"]["against"]["base"]["psnr_db"] = group["results"]["LoRA"]["against"]["base"]["psnr_db"]
    value["rulings"]["old"][3] = value["rulings"]["LoRA"][3]


def raise_score(value: Any) -> None:
    comparison(value)["rows"][0]["scores"]["LoRA"]["values"]["ssim"] = 0.999


def raise_take(value: Any) -> None:
    comparison(value)["rows"][0]["takes"]["LoRA"][1]["values"]["psnr_db"] += 1


def weaken_policy(value: Any) -> None:
    value["policy"]["gates"][0]["at_least"] = -100.0


def weaken_policy_and_digest(value: Any) -> None:
    value["policy"]["gates"] = value["policy"]["gates"][:1]
    value["gates"] = Policy(gates=POLICY.gates[:1]).digest


def ask_nothing(value: Any) -> None:
    value["policy"] = {"gates": []}
    value["gates"] = NOTHING_ASKED.digest


def drop_mandatory(value: Any) -> None:
    del value["rulings"]["LoRA"][2]


def drop_all(value: Any) -> None:
    value["rulings"] = {}


def empty(value: Any) -> None:
    value["rulings"]["LoRA"] = []


def made_up(value: Any) -> None:
    value["rulings"]["LoRA"] = [{"gate": "looks good", "outcome": "pass", "why": ""}]


def one_more(value: Any) -> None:
    value["rulings"]["LoRA"].append({"gate": "looks good", "outcome": "pass", "why": ""})


def swap(value: Any) -> None:
    value["rulings"]["LoRA"], value["rulings"]["old"] = value["rulings"]["old"], value["rulings"]["LoRA"]


def rename_in_rulings(value: Any) -> None:
    value["rulings"]["new"] = value["rulings"].pop("LoRA")


def rename_in_scores(value: Any) -> None:
    comparison(value)["candidates"][1] = "new"


def say_loaded(value: Any) -> None:
    value["loaded"]["old"] = "129 tensors"


def rule_on_the_base(value: Any) -> None:
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
    comparison(value)["rows"][0]["takes"]["LoRA"][0]["seed"] = 99


def better_verdict(value: Any) -> None:
    value["verdict"] = "The LoRA adapter is perfect."


def better_figure(value: Any) -> None:
    value["figures"][3]["value"] += 3


def best_seed(value: Any) -> None:
    shown = value["shown_seeds"]
    case = next(iter(shown))
    shown[case] = 15 - shown[case]


def leave_out_rival(value: Any) -> None:
    for group in (comparison(value)["headline"], *(each for name in GROUPS[1:] for each in comparison(value)[name])):
        for result in group["results"].values():
            result["against"].pop("base", None)


def leave_out_clip(value: Any) -> None:
    comparison(value)["rows"].pop(0)


def leave_out_group(value: Any) -> None:
    comparison(value)["tasks"].pop()


def leave_out_metric(value: Any) -> None:
    comparison(value)["not_run"]["moves"] = "not asked for"


def leave_out_score(value: Any) -> None:
    del comparison(value)["rows"][1]["scores"]["LoRA"]["values"]["ssim"]


def leave_out_take(value: Any) -> None:
    comparison(value)["rows"][1]["takes"]["LoRA"] = []


def leave_out_curve(value: Any) -> None:
    comparison(value)["rows"][1]["scores"]["LoRA"]["curves"] = {}


def no_rows(value: Any) -> None:
    comparison(value)["rows"] = []


def same_clip_twice(value: Any) -> None:
    comparison(value)["rows"].append(comparison(value)["rows"][0])


def third_seed(value: Any) -> None:
    its = comparison(value)["rows"][1]["takes"]
    its["LoRA"].append(its["LoRA"][0])


def null_psnr(value: Any) -> None:
    comparison(value)["rows"][1]["scores"]["LoRA"]["values"]["psnr_db"] = None


def huge_curve(value: Any) -> None:
    comparison(value)["rows"][1]["scores"]["LoRA"]["curves"]["psnr_db"][0] = 1e300


def tiny_curve(value: Any) -> None:
    comparison(value)["rows"][1]["scores"]["LoRA"]["curves"]["psnr_db"][0] = -1e300


def huge_score(value: Any) -> None:
    row = comparison(value)["rows"][1]
    row["scores"]["LoRA"]["values"]["ssim"] = 1e308
    for take in row["takes"]["LoRA"]:
        take["values"]["ssim"] = 1e308


def unknown_gate(value: Any) -> None:
    value["policy"]["gates"][0]["metric"] = "beauty"


EDITS = {
    raise_ruling: "the gates of 'old' contradict the scores: every base tensor loaded: pass",
    raise_group: "headline.results.LoRA.means.ssim.low is",
    raise_group_and_ruling: "headline.results.old.against.base.psnr_db.mean is",
    raise_score: "ssim of LoRA is 0.999, its takes say",
    raise_take: "psnr_db of LoRA is",
    weaken_policy: "the gates' policy has the digest",
    weaken_policy_and_digest: "the policy has no gate",
    ask_nothing: "the policy has no gate",
    drop_mandatory: "the gate 'moves, in ≥ 0.8 of its videos' is missing",
    drop_all: "no gates for 'LoRA'",
    empty: "the gate 'every base tensor loaded' is missing",
    made_up: "the gate 'every base tensor loaded' is missing",
    one_more: "the policy has no gate 'looks good'",
    swap: "the gates of 'LoRA' contradict the scores",
    rename_in_rulings: "no gates for 'LoRA'",
    rename_in_scores: "the columns are not the compared candidates",
    say_loaded: "the gates of 'old' contradict the scores: every base tensor loaded",
    rule_on_the_base: "of what was not compared",
    another_incumbent: "the gates of 'LoRA' contradict the scores",
    base_as_incumbent: "the incumbent, is of what was not compared",
    another_suite: "the suite's digest is not that of the clips and the plan",
    another_plan: "the suite's digest is not that of the clips and the plan",
    no_plan: "the suite's digest is not that of the clips and the plan",
    another_clip: "the suite's digest is not that of the clips and the plan",
    another_seed: "the seeds of LoRA are not those of the plan",
    better_verdict: "the verdict is not what the scores say",
    better_figure: "the figures contradict the scores: LoRA: PSNR gain over the base is",
    best_seed: "the seeds shown are not those",
    leave_out_rival: "was not held against base",
    leave_out_clip: "computed",
    leave_out_group: "tasks has 2 entries, computed are 3",
    leave_out_metric: "'moves' is not a metric that can be left out",
    leave_out_score: "its metrics are not those that were run",
    leave_out_take: "different numbers of seeds",
    leave_out_curve: "its curves are not those of the others",
    no_rows: "there is no clip",
    same_clip_twice: "two share a name",
    third_seed: "different numbers of seeds",
    null_psnr: "its metrics are not those that were run",
    huge_curve: "no means can be computed from such scores",
    tiny_curve: "no means can be computed from such scores",
    huge_score: "no means can be computed from such scores",
    unknown_gate: "no metric is called 'beauty'",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_results_edited_by_hand_are_refused_by_name(value: Any, edit: Any) -> None:
    edit(value)
    with pytest.raises(DataError) as error:
        parse_report(value, where="results.json")
    assert EDITS[edit] in error.value.what
    assert "\n" not in str(error.value)


def test_scores_changed_with_all_that_follows_are_another_evaluation(saved: SavedReport) -> None:
    """Nothing in a file can show this: the signature of the evaluator stands for the scores."""
    rows = copy.deepcopy(saved.comparison.rows)
    for scores in (rows[0].scores["LoRA"].values, *(take.values for take in rows[0].takes["LoRA"])):
        scores["ssim"] = 0.5
    stated = recomputed(replace(saved.comparison, rows=rows))
    rulings = rulings_of(stated, saved.policy, saved.loaded, saved.incumbent)
    changed = replace(saved, comparison=stated, rulings=rulings)
    assert parse_report(changed.to_json(), where="results.json") == changed


def test_reciprocal_ratios_are_equally_good_on_every_machine() -> None:
    good = MEASURES["match_ratio"].goodness
    for up, down in ((4, 3), (7, 5), (90, 41), (1000, 999)):
        assert good(up / down) == good(down / up)


def test_a_truth_value_is_no_score(value: Any) -> None:
    value["comparison"]["rows"][0]["frames"] = True
    with pytest.raises(DataError, match=r"'comparison\.rows\.0\.frames' is True: a truth value"):
        parse_report(value, where="results.json")
