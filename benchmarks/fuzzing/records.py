"""Readers of what worldtune itself wrote: results of evaluations, and runs."""

import json
import math
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing.oracle import matches, parse_json_file, parse_json_lines, parse_yaml_file
from benchmarks.fuzzing.pictures import clip
from benchmarks.fuzzing.reader import Reader, RefusedError
from benchmarks.fuzzing.settings import RECIPE
from benchmarks.registry.site import make_adapter
from worldtune.adapters.card import read_card, write_card
from worldtune.core.files import write_json
from worldtune.evaluation.cases.case import Case, video_from_frames
from worldtune.evaluation.cases.runs import read_runs
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.report.folder import ReportContent, write_report
from worldtune.evaluation.report.saved_report import read_report
from worldtune.evaluation.report.votes import FORMAT, read_votes, report_identity
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder

LINEAGE = {
    "recipe": "ab" * 32,
    "datasets": {"data": "cd" * 32},
    "base": {"source": "pocket", "digest": "ef" * 32},
    "seed": 0,
}


def _make_report(folder: Path) -> None:
    clips = [clip(n)[:5, ::2, ::2] for n in range(2)]
    cases = [
        Case(name=f"{n:06d}/scene/0", episode=f"{n:06d}", task="lift", camera="top", prompt="The arm lifts – slowly.",
             reference=video_from_frames(clips[n]), domain="new camera") for n in range(2)
    ]  # fmt: skip
    videos = {
        name: {case.name: [video_from_frames(np.roll(clips[n], shift, axis=2))] for n, case in enumerate(cases)}
        for name, shift in (("base", 3), ("LoRA", 1))
    }
    comparison = compare(cases, videos)
    write_report(
        folder / "report",
        ReportContent(
            title="A report", verdict_subject="LoRA", comparison=comparison, cases=cases, candidates=videos, fps=16.0,
            figures=[{"name": "gain", "value": 3.0, "unit": "dB", "goal": 2.5, "better": "higher", "reached": True}],
            curves={"LoRA": [{"step": k, "loss": 1 / (1 + k), "held_out_loss": 0.5} for k in range(3)]},
            lineage={"LoRA": LINEAGE}, retention=[{"candidate": "LoRA", "loss": 0.05}], reproduce="make demo",
            loaded={"LoRA": "all of it"}, plan=SamplingPlan(),
        ),
    )  # fmt: skip
    vote = {"case": cases[0].name, "left": "LoRA", "right": "base", "choice": "left"}
    write_json(folder / "votes.json", {"format": FORMAT, "report": report_identity(comparison), "votes": [vote]})


def _read_report(folder: Path) -> dict[str, Any]:
    saved = read_report(folder / "report/results.json")
    return {
        "report": saved.to_json(),
        "votes": [asdict(v) for v in read_votes(folder / "votes.json", saved.comparison)],
    }


def _expect_report(folder: Path) -> dict[str, Any]:
    ballot = parse_json_file(folder / "votes.json")
    if not isinstance(ballot, dict) or set(ballot) != {"format", "report", "votes"}:
        raise RefusedError("it is not a ballot")
    return {"report": parse_json_file(folder / "report/results.json"), "votes": ballot["votes"]}


def _reports_match(found: Any, stated: Any) -> bool:
    return matches(found, stated, {})


def _make_run(folder: Path) -> None:
    run = RunFolder(folder / "run")
    run.start(Recipe.model_validate(RECIPE))
    run.save_lineage(LINEAGE)
    for step in range(21):
        run.log(step=step, loss=1 / (1 + step), held_out_loss=0.5, lr=1e-3, mode="image2world")
    for _ in range(2):
        with run.timed():
            pass
    card = read_card(make_adapter(run.adapter))
    write_card(run.adapter, card.model_copy(update={"lineage": LINEAGE, "step": 20}))


def _read_run(folder: Path) -> dict[str, Any]:
    """Return a run as evaluation reads it, and as resuming reads it."""
    (trained,) = read_runs({"run": folder / "run"})
    run = RunFolder(folder / "run")
    run.resume(Recipe.model_validate(RECIPE))
    lineage = run.check_lineage(LINEAGE)
    recipe, card = trained.recipe.model_dump(mode="json", by_alias=True), trained.card.model_dump(mode="json")
    return {"recipe": recipe, "rows": trained.rows, "seconds": trained.seconds, "lineage": lineage, "card": card}


def _expect_run(folder: Path) -> dict[str, Any]:
    run = folder / "run"
    timing, rows = parse_json_file(run / "timing.json"), parse_json_lines(run / "metrics.jsonl")
    if not isinstance(timing, dict) or set(timing) != {"sessions"} or not isinstance(timing["sessions"], list):
        raise RefusedError("timing.json has another form")
    sessions = timing["sessions"]
    if any(isinstance(session, bool) or not isinstance(session, int | float | None) for session in sessions):
        raise RefusedError("a session is not a number")
    if not all(isinstance(row, dict) and isinstance(row.get("step"), int) for row in rows):
        raise RefusedError("a row of the metrics has no step")
    seconds = None if None in sessions else math.fsum(sessions)
    lineage, card = parse_json_file(run / "lineage.json"), _parse_card(run / "adapter/adapter.json")
    return {
        "recipe": parse_yaml_file(run / "recipe.yaml"),
        "rows": rows,
        "seconds": seconds,
        "lineage": lineage,
        "card": card,
    }


def _parse_card(path: Path) -> dict[str, Any]:
    """Return the fields of a card after checking their digest."""
    card = parse_json_file(path)
    stated = card.pop("digest", None) if isinstance(card, dict) else None
    if (
        stated
        != sha256(json.dumps(card, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
    ):
        raise RefusedError("its fields do not match its digest")
    fields: dict[str, Any] = card
    return fields


def _runs_match(found: Any, stated: Any) -> bool:
    """Return whether two runs match; rows and lineage must be exactly equal."""
    exact = all(repr(found[part]) == repr(stated[part]) for part in ("rows", "lineage"))
    return (
        exact
        and found["seconds"] == stated["seconds"]
        and all(matches(found[p], stated[p], {}) for p in ("recipe", "card"))
    )


READERS = (
    Reader(
        "results.json and votes",
        "strict JSON",
        _make_report,
        _read_report,
        _expect_report,
        ("report/results.json", "votes.json"),
        _reports_match,
    ),
    Reader(
        "run folder",
        "strict JSON and YAML",
        _make_run,
        _read_run,
        _expect_run,
        ("run/*.json", "run/*.jsonl", "run/*.yaml", "run/adapter/*.json"),
        _runs_match,
    ),
)
