"""`worldtune evaluate` on real, short runs on the pocket world."""

import hashlib
import json
import re
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
from worldtune.core.files import digest_file
from worldtune.data.video.decode import write_video
from worldtune.models.load import open_world

TINY = ["train.steps=4", "train.warmup=1", "train.checkpoint_every=4", "validate={every: 4, sigmas: 1}", "replay=null"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    retention = "{path: 'builtin:pocket-base-held-out', frames: 21, fps: 16, height: 64, width: 64}"
    view_overrides = [*TINY[:-2], f"validate={{every: 4, sigmas: 1, retention: {retention}}}", "replay=null"]
    for name, recipe, overrides in (("view", "pocket-new-view", view_overrides), ("task", "pocket-new-task", TINY)):
        assert run(["train", recipe, *overrides, "--out", str(folder / name)]) == 0
    return folder


def test_report_compares_the_base_and_the_run(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report"
    assert run(["evaluate", str(runs / "view"), "--clips", "2", "--steps", "2", "--out", str(report)]) == 0
    out = capsys.readouterr().out
    assert "gates: pass" not in out
    assert "; no quality gates\n" in out
    assert "\n  passed: every base tensor loaded" in out
    assert out.endswith(f"To check quality, add --gates default or a gates file.\n{report / 'index.html'}\n")
    results = json.loads((report / "results.json").read_text())
    weights = (runs / "view" / "adapter" / "pytorch_lora_weights.safetensors").read_bytes()
    assert results["lineage"]["view"]["weights"] == hashlib.sha256(weights).hexdigest()
    assert [len(results[name]) for name in ("suite", "gates")] == [64, 64]
    comparison = results["comparison"]
    assert comparison["candidates"] == [
        "base", "view", "codec round trip", "nearest training clip", "first frame frozen",
    ]  # fmt: skip
    codec = comparison["headline"]["results"]["codec round trip"]["means"]["psnr_db"]["mean"]
    assert f"The codec round trip has {codec:.1f} dB, the base has " in out
    page = (report / "index.html").read_text()
    assert "The codec round trip has" in page
    assert set(re.findall(r'href="#(.+?)"', page)) == set(re.findall(r'<section id="(.+?)"', page))
    assert [row["domain"] for row in comparison["rows"]] == ["Held-out clips of view"] * 2 + ["base domain"] * 2
    assert len(comparison["headline"]["cases"]) == 2
    assert results["reproduce"].endswith(f"--out {report} --steps 2 --seed 0 --clips 2")


def test_runs_of_two_datasets_are_compared_on_the_clips_of_both(runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    options = ["evaluate", str(runs / "view"), str(runs / "task"), "--clips", "2", "--steps", "1", "--out", str(report)]
    assert run(options) == 0
    comparison = json.loads((report / "results.json").read_text())["comparison"]
    assert [group["name"] for group in comparison["domains"]] == [
        "Held-out clips of view", "Held-out clips of task", "base domain",
    ]  # fmt: skip
    assert comparison["headline"]["name"] == "Held-out clips of view"
    assert sum(len(group["cases"]) for group in comparison["matrix"]) == 4
    assert all({"view", "task"} <= set(group["results"]) for group in comparison["matrix"])
    assert "Task by adapter" in (report / "index.html").read_text()


def test_clips_that_another_run_was_trained_on_are_rejected(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other run has the same recordings, but another split."""
    other = tmp_path / "other"
    assert run(["train", "pocket-new-view", *TINY, "data.seed=1", "--out", str(other)]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(runs / "view"), str(other), "--out", str(tmp_path / "report")]) == 2
    assert ", a clip of this evaluation" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_unfinished_run_is_rejected(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.yaml").write_text((runs / "view" / "recipe.yaml").read_text())
    assert run(["evaluate", str(unfinished)]) == 2
    assert "no adapter yet" in capsys.readouterr().err


def test_folder_without_a_run_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["base", "reference", "first frame frozen"])
def test_run_with_the_name_of_a_column_is_rejected(
    runs: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "view", tmp_path / name)
    assert run(["evaluate", str(tmp_path / name), "--clips", "1"]) == 2
    assert f"a run cannot be called '{name}'" in capsys.readouterr().err


def test_runs_with_the_same_name_are_rejected(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "view", tmp_path / "view")
    assert run(["evaluate", str(runs / "view"), str(tmp_path / "view")]) == 2
    assert "runs share a name" in capsys.readouterr().err


def test_changed_dataset_is_rejected(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With another dataset, clips that were trained on could be held out."""
    shutil.copytree(runs / "view", tmp_path / "view")
    lineage = fields_of(tmp_path / "view" / "adapter")["lineage"]
    edit_card(tmp_path / "view" / "adapter", lineage=lineage | {"datasets": {"data": "0" * 64}})
    assert run(["evaluate", str(tmp_path / "view"), "--clips", "1"]) == 2
    assert "include training clips" in capsys.readouterr().err


@pytest.mark.parametrize("theirs", ["videos/mine.mp4", "thesis.tex"])
def test_folder_with_other_files_is_not_replaced(
    runs: Path, tmp_path: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out" / theirs
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert run(["evaluate", str(runs / "view"), "--clips", "1", "--out", str(tmp_path / "out")]) == 2
    assert "holds something other than a report" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_runs_measured_differently_are_not_compared(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(runs / "view", tmp_path / "other")
    recipe = (other / "recipe.yaml").read_text()
    (other / "recipe.yaml").write_text(recipe.replace("- image2world", "- text2world"))
    assert run(["evaluate", str(runs / "view"), str(other), "--out", str(tmp_path / "report")]) == 2
    assert "not validated on the same clips in the same way" in capsys.readouterr().err


def test_adapter_of_another_base_is_rejected(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(runs / "view", tmp_path / "other")
    edit_card(other / "adapter", base_digest="0" * 64)
    assert run(["evaluate", str(other), "--clips", "1", "--steps", "1"]) == 2
    assert "made for another base" in capsys.readouterr().err
    assert not (other / "report").exists()


def rows_of(report: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(report / "scores.parquet").to_pylist()
    return rows


def test_several_seeds_and_another_tasks_prompt(runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    options = ["--clips", "2", "--steps", "1", "--seed", "5", "--seeds", "2", "--other-task", "--out", str(report)]
    assert run(["evaluate", str(runs / "view"), *options]) == 0
    rows = [row for row in rows_of(report) if row["candidate"] == "view"]
    assert sorted({row["seed"] for row in rows}) == [5, 6]
    comparison = json.loads((report / "results.json").read_text())["comparison"]
    means = comparison["headline"]["results"]["view"]["means"]
    assert means["diversity"]["n"] == 2
    assert means["prompt_sensitivity"]["n"] == 2


def test_default_gates_need_more_than_two_clips(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report"
    options = ["--gates", "default", "--clips", "2", "--steps", "2", "--out", str(report)]
    assert run(["evaluate", str(runs / "view"), *options]) in (3, 4)
    gate_results = json.loads((report / "results.json").read_text())["gate_results"]["view"]
    outcomes = {each["gate"]: each["outcome"] for each in gate_results}
    assert outcomes["PSNR better than base by ≥ 0.01 dB"] == "not enough evidence"
    assert "view: gates: " in capsys.readouterr().out


GATES = """
gates:
  - {{metric: psnr_db, over: {over}, at_least: {least}}}
"""


@pytest.mark.parametrize(("clips", "least", "code"), [("6", "-90", 0), ("6", "90", 3), ("2", "-90", 4)])
def test_exit_code_follows_the_gates(
    runs: Path, tmp_path: Path, clips: str, least: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gates.yaml").write_text(GATES.format(over="base", least=least))
    # so few steps change too little for a clear result, so a copy has its B scaled up
    moved = scale_up(runs / "view", tmp_path / "moved")
    options = [
        "--gates",
        str(tmp_path / "gates.yaml"),
        "--clips",
        clips,
        "--steps",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    exit_code = run(["evaluate", str(moved), *options])
    out = capsys.readouterr().out
    outcome = {0: "pass", 3: "fail", 4: "not enough evidence"}[code]
    gate_results = json.loads((tmp_path / "out" / "results.json").read_text())["gate_results"]["moved"]
    assert gate_results[-1]["outcome"] == outcome
    assert (exit_code, f"moved: gates: {outcome}" in out) == (code, True), gate_results


def scale_up(finished: Path, copy: Path) -> Path:
    """Copy a run and make its B a hundred times as large, so that the adapter changes its videos much."""
    shutil.copytree(finished, copy)
    weights = copy / "adapter" / "pytorch_lora_weights.safetensors"
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    tensors = {name: 100 * tensor if "lora_B" in name else tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata)
    edit_card(copy / "adapter", weights_digest=digest_file(weights))
    return copy


def test_candidates_of_every_kind_are_compared(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A release that nobody approved, the base as a separate base model, and a folder of videos."""
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
    videos = tmp_path / "films"
    videos.mkdir()
    for row in json.loads((first / "results.json").read_text())["comparison"]["rows"]:
        clip_THWC = np.random.default_rng(0).integers(0, 255, (21, 64, 64, 3), dtype=np.uint8)
        write_video(videos / (row["name"].replace("/", "_") + ".mp4"), clip_THWC, 16)
    pocket = open_world("pocket").folder
    named = {"twin": "cell7/pick@production", "world": pocket, "films": videos}
    options = [part for name, path in named.items() for part in ("--candidate", f"{name}={path}")]
    (tmp_path / "gates.yaml").write_text(GATES.format(over="incumbent", least=0))
    report = tmp_path / "report"
    options += ["--incumbent", "twin", "--gates", str(tmp_path / "gates.yaml"), "--out", str(report)]
    assert run(["evaluate", str(runs / "view"), *small, *options]) in (3, 4)
    results = json.loads((report / "results.json").read_text())
    assert results["columns"] == ["reference", "base", "view", "twin", "world", "films"]
    row = results["comparison"]["rows"][0]
    assert row["seed_scores"]["world"][0]["values"]["base_difference"] == 0, (
        "the base as a separate model gives the base's videos"
    )
    assert row["scores"]["twin"] == row["scores"]["view"]
    assert row["scores"]["films"]["values"]["psnr_db"] < 12
    assert results["incumbent"] == "twin"
    outcomes = {name: {each["gate"]: each["outcome"] for each in its} for name, its in results["gate_results"].items()}
    assert outcomes["films"]["every base tensor loaded"] == "not enough evidence"
    assert outcomes["twin"]["every base tensor loaded"] == "pass"
    assert [note.split(" ")[0] for note in results["notes"]] == ["twin", "world", "films", "The"]
    assert "cell7/pick@1 sha256:" in results["notes"][0]
    assert "@production generation 1 (BREAK-GLASS until" in results["notes"][0]
    assert "warning: BREAK-GLASS: cell7/pick@production" in capsys.readouterr().err
    page = (report / "index.html").read_text()
    assert "(incumbent)" in page
    assert "films may have been trained on these clips" in page


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--candidate", "base=x"], "not an adapter, a world model"),
        (["--candidate", "twin"], "NAME=PATH"),
        (["--incumbent", "nobody"], "the incumbent 'nobody' is not a candidate"),
        (["--gates", "nowhere.yaml"], "the file cannot be read"),
        (["--gripper-columns", "1"], "three columns"),
        (["--weights", "dino=nowhere"], "no weights of dino"),
        (["--judge-endpoint", "http://127.0.0.1:9"], "without --judge"),
        (["--judge", "/"], "the model cannot be loaded"),
        (["--judge", "nowhere"], "no such folder"),
        (["--judge", "x", "--judge-endpoint", "not an address"], "not the address of an endpoint"),
        (["--judge-repeats", "3"], "without --judge"),
        (["--gripper-columns", "0,0,0"], "three columns"),
        (["--workers", "2"], "--workers needs a Ray cluster"),
    ],
)
def test_wrong_options_are_rejected_before_the_work(
    runs: Path, tmp_path: Path, options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(runs / "view"), *options, "--out", str(tmp_path / "report")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_candidate_with_the_name_of_a_run_is_rejected(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--candidate", f"view={runs / 'task'}", "--out", str(tmp_path / "report")]
    assert run(["evaluate", str(runs / "view"), *options]) == 2
    assert "a candidate cannot be called 'view'" in capsys.readouterr().err


def test_unknown_state_columns_are_rejected(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--gripper-columns", "0,1,99", "--clips", "1", "--out", str(tmp_path / "report")]
    assert run(["evaluate", str(runs / "view"), *options]) == 2
    assert "no state column 99: the states of builtin:pocket-new-view have 4 columns" in capsys.readouterr().err


def test_zero_held_out_clips_are_rejected(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = shutil.copytree(runs / "view", tmp_path / "bare")
    recipe = yaml.safe_load((bare / "recipe.yaml").read_text())
    recipe["data"]["held_out"] = 0
    (bare / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(["evaluate", str(bare), "--out", str(tmp_path / "report")]) == 2
    assert "no clips are held out to evaluate on" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_judges_answers_are_recorded(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    report = tmp_path / "report"
    with serving(lambda request: completion("3" if "from 1 to 5" in request.text else "It may be.")) as chat:
        options = ["--judge", "reason", "--judge-endpoint", chat.url, "--clips", "1", "--steps", "1"]
        assert run(["evaluate", str(runs / "view"), *options, "--out", str(report)]) == 0
    answers = [json.loads(line) for line in (report / "judge.jsonl").read_text().splitlines()]
    assert len(answers) == len(chat.requests) == 85
    assert {answer["raw"] for answer in answers} == {"3", "It may be."}
    results = json.loads((report / "results.json").read_text())
    means = results["comparison"]["headline"]["results"]["view"]["means"]
    assert means["judge_physics"]["mean"] == 3
    assert means["judge_anomalies"]["mean"] is None
    assert results["judge"]["statuses"].keys() == {"answered", "no number"}
    assert results["judge"]["calibration"]["accuracy"] is None
    page = (report / "index.html").read_text()
    assert "its accuracy is unknown" in page
