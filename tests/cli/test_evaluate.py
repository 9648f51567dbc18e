"""`worldtune evaluate` on real runs of a few steps on the pocket world."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from support.adapters import edit_card, fields_of
from support.chat import completion, serving
from worldtune.cli.main import run
from worldtune.episodes.video import write_video
from worldtune.files import digest_file
from worldtune.worlds.load import open_world

TINY = ["train.steps=4", "train.warmup=1", "train.checkpoint_every=4", "validate={every: 4, sigmas: 1}", "replay=null"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    forgetting = "{path: 'builtin:pocket-base-held-out', frames: 21, fps: 16, height: 64, width: 64}"
    probed = [*TINY[:-2], f"validate={{every: 4, sigmas: 1, forgetting: {forgetting}}}", "replay=null"]
    for name, recipe, overrides in (("view", "pocket-new-view", probed), ("task", "pocket-new-task", TINY)):
        assert run(["train", recipe, *overrides, "--out", str(folder / name)]) == 0
    return folder


def test_a_report_compares_the_base_and_the_run(runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert run(["evaluate", str(runs / "view"), "--clips", "2", "--steps", "2", "--out", str(report)]) == 0
    results = json.loads((report / "results.json").read_text())
    weights = (runs / "view" / "adapter" / "pytorch_lora_weights.safetensors").read_bytes()
    assert results["lineage"]["view"]["weights"] == hashlib.sha256(weights).hexdigest()
    assert [len(results[name]) for name in ("suite", "gates")] == [64, 64]
    comparison = results["comparison"]
    assert comparison["candidates"] == ["base", "view", "nearest training clip", "first frame frozen"]
    assert [row["domain"] for row in comparison["rows"]] == ["Held-out clips of view"] * 2 + ["base domain"] * 2
    assert len(comparison["headline"]["cases"]) == 2
    assert results["reproduce"].endswith(f"--out {report} --steps 2 --guidance 0 --seed 0 --clips 2")
    assert (report / "index.html").is_file()


def test_runs_of_different_datasets_are_judged_on_the_clips_of_both(runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    asked = ["evaluate", str(runs / "view"), str(runs / "task"), "--clips", "2", "--steps", "1", "--out", str(report)]
    assert run(asked) == 0
    comparison = json.loads((report / "results.json").read_text())["comparison"]
    assert [group["name"] for group in comparison["domains"]] == [
        "Held-out clips of view", "Held-out clips of task", "base domain",
    ]  # fmt: skip
    assert comparison["headline"]["name"] == "Held-out clips of view"
    assert sum(len(group["cases"]) for group in comparison["matrix"]) == 4
    assert all({"view", "task"} <= set(group["results"]) for group in comparison["matrix"])
    assert "Task by adapter" in (report / "index.html").read_text()


def test_clips_that_another_run_was_trained_on_judge_nobody(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same recordings, split in another way."""
    other = tmp_path / "other"
    assert run(["train", "pocket-new-view", *TINY, "data.seed=1", "--out", str(other)]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(runs / "view"), str(other), "--out", str(tmp_path / "report")]) == 2
    assert "was trained on the clip" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_an_unfinished_run_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.yaml").write_text((runs / "view" / "recipe.yaml").read_text())
    assert run(["evaluate", str(unfinished)]) == 2
    assert "no adapter yet" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(tmp_path)]) == 2
    assert "this is no run folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["base", "reference", "first frame frozen"])
def test_a_run_with_the_name_of_a_column_is_refused(
    runs: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "view", tmp_path / name)
    assert run(["evaluate", str(tmp_path / name), "--clips", "1"]) == 2
    assert f"a run cannot be called '{name}' here" in capsys.readouterr().err


def test_runs_of_one_name_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "view", tmp_path / "view")
    assert run(["evaluate", str(runs / "view"), str(tmp_path / "view")]) == 2
    assert "runs share a name" in capsys.readouterr().err


def test_a_dataset_that_is_not_what_was_trained_on_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With more episodes, clips that were trained on could be held out."""
    shutil.copytree(runs / "view", tmp_path / "view")
    lineage = fields_of(tmp_path / "view" / "adapter")["lineage"]
    edit_card(tmp_path / "view" / "adapter", lineage=lineage | {"datasets": {"data": "0" * 64}})
    assert run(["evaluate", str(tmp_path / "view"), "--clips", "1"]) == 2
    assert "held-out clips may be clips it has seen" in capsys.readouterr().err


@pytest.mark.parametrize("theirs", ["videos/mine.mp4", "thesis.tex"])
def test_a_folder_of_the_users_is_not_replaced(
    runs: Path, tmp_path: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out" / theirs
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert run(["evaluate", str(runs / "view"), "--clips", "1", "--out", str(tmp_path / "out")]) == 2
    assert "holds something else than a report" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_runs_measured_in_another_way_do_not_stand_side_by_side(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(runs / "view", tmp_path / "other")
    recipe = (other / "recipe.yaml").read_text()
    (other / "recipe.yaml").write_text(recipe.replace("- image2world", "- text2world"))
    assert run(["evaluate", str(runs / "view"), str(other), "--out", str(tmp_path / "report")]) == 2
    assert "not measured on the same clips in the same way" in capsys.readouterr().err


def test_an_adapter_of_another_base_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(runs / "view", tmp_path / "other")
    edit_card(other / "adapter", base_digest="0" * 64)
    assert run(["evaluate", str(other), "--clips", "1", "--steps", "1"]) == 2
    assert "made for another base" in capsys.readouterr().err
    assert not (other / "report").exists()


def rows_of(report: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(report / "scores.parquet").to_pylist()
    return rows


def test_several_seeds_and_another_task(runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    asked = ["--clips", "2", "--steps", "1", "--seed", "5", "--seeds", "2", "--other-task", "--out", str(report)]
    assert run(["evaluate", str(runs / "view"), *asked]) == 0
    rows = [row for row in rows_of(report) if row["candidate"] == "view"]
    assert sorted({row["seed"] for row in rows}) == [5, 6]
    comparison = json.loads((report / "results.json").read_text())["comparison"]
    means = comparison["headline"]["results"]["view"]["means"]
    assert means["diversity"]["n"] == 2
    assert "prompt_sensitivity" in means or "one task" in comparison["not_run"]["prompt_sensitivity"]


GATES = """
gates:
  - {{metric: psnr_db, over: {over}, at_least: {least}}}
"""


@pytest.mark.parametrize(("clips", "least", "code"), [("6", "-90", 0), ("6", "90", 3), ("2", "-90", 4)])
def test_the_exit_code_says_what_the_gates_say(
    runs: Path, tmp_path: Path, clips: str, least: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gates.yaml").write_text(GATES.format(over="base", least=least))
    # of weights that are this young no gate could be sure: a copy that was pushed by hand
    moved = pushed(runs / "view", tmp_path / "moved")
    asked = ["--gates", str(tmp_path / "gates.yaml"), "--clips", clips, "--steps", "1", "--out", str(tmp_path / "out")]
    found = run(["evaluate", str(moved), *asked])
    said = capsys.readouterr().out
    outcome = {0: "pass", 3: "fail", 4: "not enough evidence"}[code]
    rulings = json.loads((tmp_path / "out" / "results.json").read_text())["rulings"]["moved"]
    assert rulings[-1]["outcome"] == outcome
    assert (found, f"moved: gates: {outcome}" in said) == (code, True), rulings


def pushed(finished: Path, copy: Path) -> Path:
    """A run whose adapter changes its videos much: its B is a hundred times as large."""
    shutil.copytree(finished, copy)
    weights = copy / "adapter" / "pytorch_lora_weights.safetensors"
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    tensors = {name: 100 * each if "lora_B" in name else each for name, each in load_file(weights).items()}
    save_file(tensors, weights, metadata)
    edit_card(copy / "adapter", weights_digest=digest_file(weights))
    return copy


def test_candidates_of_every_kind_beside_the_run(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A release that nobody approved, the base itself as a world of its own, and a folder of videos."""
    monkeypatch.setenv("WORLDTUNE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("WORLDTUNE_KEY", str(tmp_path / "ann.pem"))
    glass = ["--break-glass", "--reason", "line 3 is down", "--expires", "8h"]
    for part in (
        ["init", "--person", "ann"],
        ["add", "cell7/pick", str(runs / "view")],
        ["promote", "cell7/pick@1", "production", *glass],
    ):
        assert run(["registry", *part]) == 0
    first = tmp_path / "first"
    small = ["--clips", "1", "--steps", "1"]
    assert run(["evaluate", str(runs / "view"), *small, "--out", str(first)]) == 0
    films = tmp_path / "films"
    films.mkdir()
    for row in json.loads((first / "results.json").read_text())["comparison"]["rows"]:
        clip_THWC = np.random.default_rng(0).integers(0, 255, (21, 64, 64, 3), dtype=np.uint8)
        write_video(films / (row["name"].replace("/", "_") + ".mp4"), clip_THWC, 16)
    pocket = open_world("pocket").folder
    named = {"twin": "cell7/pick@production", "world": pocket, "films": films}
    asked = [part for name, path in named.items() for part in ("--candidate", f"{name}={path}")]
    (tmp_path / "gates.yaml").write_text(GATES.format(over="incumbent", least=0))
    report = tmp_path / "report"
    asked += ["--incumbent", "twin", "--gates", str(tmp_path / "gates.yaml"), "--out", str(report)]
    assert run(["evaluate", str(runs / "view"), *small, *asked]) in (3, 4)
    results = json.loads((report / "results.json").read_text())
    assert results["columns"] == ["reference", "base", "view", "twin", "world", "films"]
    row = results["comparison"]["rows"][0]
    assert row["takes"]["world"][0]["values"]["differs"] == 0, "the base as a world of its own is the base"
    assert row["scores"]["twin"] == row["scores"]["view"]
    assert row["scores"]["films"]["values"]["psnr_db"] < 12
    assert results["incumbent"] == "twin"
    outcomes = {name: {each["gate"]: each["outcome"] for each in its} for name, its in results["rulings"].items()}
    assert outcomes["films"]["every base tensor loaded"] == "not enough evidence"
    assert outcomes["twin"]["every base tensor loaded"] == "pass"
    assert [note.split(" ")[0] for note in results["notes"]] == ["twin", "It", "It", "The"]
    assert "cell7/pick@1 sha256:" in results["notes"][0]
    assert "@production generation 1 (BREAK-GLASS until" in results["notes"][0]
    assert "warning: BREAK-GLASS: cell7/pick@production" in capsys.readouterr().err
    page = (report / "index.html").read_text()
    assert "(incumbent)" in page
    assert "It is not known whether films was trained on these clips" in page


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--candidate", "base=x"], "no adapter, no world model"),
        (["--candidate", "twin"], "NAME=PATH"),
        (["--incumbent", "nobody"], "the incumbent 'nobody' is not compared"),
        (["--gates", "nowhere.yaml"], "the file cannot be read"),
        (["--place", "1"], "three columns"),
        (["--weights", "dino=nowhere"], "no weights of dino"),
        (["--judge-endpoint", "http://127.0.0.1:9"], "for a judge without a name"),
        (["--judge", "/"], "the model cannot be loaded"),
        (["--judge", "nowhere"], "there is no such folder"),
        (["--judge", "x", "--judge-endpoint", "not an address"], "no address of an endpoint"),
        (["--judge-repeats", "3"], "for a judge without a name"),
        (["--place", "0,0,0"], "three columns"),
        (["--workers", "2"], "workers are those of a Ray cluster"),
    ],
)
def test_options_that_are_wrong_are_refused_before_the_work(
    runs: Path, tmp_path: Path, asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(runs / "view"), *asked, "--out", str(tmp_path / "report")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_candidate_with_the_name_of_a_run_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--candidate", f"view={runs / 'task'}", "--out", str(tmp_path / "report")]
    assert run(["evaluate", str(runs / "view"), *asked]) == 2
    assert "a candidate cannot be called 'view' here" in capsys.readouterr().err


def test_columns_that_the_states_do_not_have_are_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--place", "0,1,99", "--clips", "1", "--out", str(tmp_path / "report")]
    assert run(["evaluate", str(runs / "view"), *asked]) == 2
    assert "the place is in column 99, the states of builtin:pocket-new-view have 4" in capsys.readouterr().err


def test_zero_held_out_clips_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = shutil.copytree(runs / "view", tmp_path / "bare")
    recipe = yaml.safe_load((bare / "recipe.yaml").read_text())
    recipe["data"]["held_out"] = 0
    (bare / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(["evaluate", str(bare), "--out", str(tmp_path / "report")]) == 2
    assert "nothing is held out to judge on" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_judge_is_asked_and_its_answers_are_kept(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    report = tmp_path / "report"
    with serving(lambda asked: completion("3" if "from 1 to 5" in asked.text else "It may be.")) as chat:
        asked = ["--judge", "reason", "--judge-endpoint", chat.url, "--clips", "1", "--steps", "1"]
        assert run(["evaluate", str(runs / "view"), *asked, "--out", str(report)]) == 0
    sayings = [json.loads(line) for line in (report / "judge.jsonl").read_text().splitlines()]
    assert len(sayings) >= len(chat.asked) > 0
    assert {saying["raw"] for saying in sayings} == {"3", "It may be."}
    results = json.loads((report / "results.json").read_text())
    means = results["comparison"]["headline"]["results"]["view"]["means"]
    assert means["judge_physics"]["mean"] == 3
    assert means["judge_anomalies"]["mean"] is None
    assert results["judge"]["fates"].keys() == {"answered", "no number"}
    assert results["judge"]["calibration"]["accuracy"] is None
    page = (report / "index.html").read_text()
    assert "its own accuracy is not known" in page
