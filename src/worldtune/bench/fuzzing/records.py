"""Readers of what worldtune itself wrote: results of evaluations, and runs."""

import json
import math
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.adapters.card import read_card, write_card
from worldtune.bench.fuzzing.oracle import json_lines_of, json_of, says, yaml_of
from worldtune.bench.fuzzing.pictures import clip
from worldtune.bench.fuzzing.reader import Reader, RefusedError
from worldtune.bench.fuzzing.settings import RECIPE
from worldtune.bench.registry_site import make_adapter
from worldtune.evaluation.case import Case, held
from worldtune.evaluation.compare import compare
from worldtune.evaluation.report.folder import ReportContent, write_report
from worldtune.evaluation.report.saved_report import read_report
from worldtune.evaluation.report.votes import FORMAT, identity, read_votes
from worldtune.evaluation.runs import read_runs
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.files import write_json
from worldtune.training.recipe import Recipe
from worldtune.training.run import RunFolder

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
             reference=held(clips[n]), domain="new camera") for n in range(2)
    ]  # fmt: skip
    videos = {
        name: {case.name: [held(np.roll(clips[n], shift, axis=2))] for n, case in enumerate(cases)}
        for name, shift in (("base", 3), ("LoRA", 1))
    }
    comparison = compare(cases, videos)
    write_report(
        folder / "report",
        ReportContent(
            title="A report", verdict_subject="LoRA", comparison=comparison, cases=cases, candidates=videos, fps=16.0,
            figures=[{"name": "gain", "value": 3.0, "unit": "dB", "goal": 2.5, "better": "higher", "reached": True}],
            curves={"LoRA": [{"step": k, "loss": 1 / (1 + k), "held_out_loss": 0.5} for k in range(3)]},
            lineage={"LoRA": LINEAGE}, forgetting=[{"candidate": "LoRA", "loss": 0.05}], reproduce="make demo",
            loaded={"LoRA": "all of it"}, plan=SamplingPlan(),
        ),
    )  # fmt: skip
    vote = {"case": cases[0].name, "left": "LoRA", "right": "base", "choice": "left"}
    write_json(folder / "votes.json", {"format": FORMAT, "report": identity(comparison), "votes": [vote]})


def _read_report(folder: Path) -> dict[str, Any]:
    saved = read_report(folder / "report/results.json")
    return {
        "report": saved.to_json(),
        "votes": [asdict(v) for v in read_votes(folder / "votes.json", saved.comparison)],
    }


def _report_of(folder: Path) -> dict[str, Any]:
    ballot = json_of(folder / "votes.json")
    if not isinstance(ballot, dict) or set(ballot) != {"format", "report", "votes"}:
        raise RefusedError("it is no ballot")
    return {"report": json_of(folder / "report/results.json"), "votes": ballot["votes"]}


def _says_report(found: Any, stated: Any) -> bool:
    return says(found, stated, {})


def _make_run(folder: Path) -> None:
    run = RunFolder(folder / "run")
    run.start(Recipe.model_validate(RECIPE))
    run.keep_lineage(LINEAGE)
    for step in range(0, 30, 10):
        run.log(step=step, loss=1 / (1 + step), held_out_loss=0.5, lr=1e-3, mode="image2world")
    for _ in range(2):
        with run.timed():
            pass
    made = read_card(make_adapter(run.adapter))
    write_card(run.adapter, made.model_copy(update={"lineage": LINEAGE, "step": 20}))


def _read_run(folder: Path) -> dict[str, Any]:
    """As evaluation reads a run, and as it is resumed."""
    (trained,) = read_runs({"run": folder / "run"})
    run = RunFolder(folder / "run")
    run.resume(Recipe.model_validate(RECIPE))
    lineage = run.same_lineage(LINEAGE)
    recipe, card = trained.recipe.model_dump(mode="json", by_alias=True), trained.card.model_dump(mode="json")
    return {"recipe": recipe, "rows": trained.rows, "seconds": trained.seconds, "lineage": lineage, "card": card}


def _run_of(folder: Path) -> dict[str, Any]:
    run = folder / "run"
    timing, rows = json_of(run / "timing.json"), json_lines_of(run / "metrics.jsonl")
    if not isinstance(timing, dict) or set(timing) != {"sessions"} or not isinstance(timing["sessions"], list):
        raise RefusedError("timing.json is of another form")
    sessions = timing["sessions"]
    if any(isinstance(each, bool) or not isinstance(each, int | float | None) for each in sessions):
        raise RefusedError("a session has no number")
    if not all(isinstance(row, dict) and isinstance(row.get("step"), int) for row in rows):
        raise RefusedError("a row of the metrics has no step")
    seconds = None if None in sessions else math.fsum(sessions)
    lineage, card = json_of(run / "lineage.json"), _card_of(run / "adapter/adapter.json")
    return {"recipe": yaml_of(run / "recipe.yaml"), "rows": rows, "seconds": seconds, "lineage": lineage, "card": card}


def _card_of(path: Path) -> dict[str, Any]:
    """The fields of a card, of which it has the digest."""
    card = json_of(path)
    stated = card.pop("digest", None) if isinstance(card, dict) else None
    if stated != sha256(json.dumps(card, sort_keys=True, separators=(",", ":")).encode()).hexdigest():
        raise RefusedError("its fields are not those of its digest")
    fields: dict[str, Any] = card
    return fields


def _says_run(found: Any, stated: Any) -> bool:
    """Rows and lineage to the letter."""
    exact = all(repr(found[part]) == repr(stated[part]) for part in ("rows", "lineage"))
    return (
        exact
        and found["seconds"] == stated["seconds"]
        and all(says(found[p], stated[p], {}) for p in ("recipe", "card"))
    )


READERS = (
    Reader(
        "results.json and votes",
        "strict JSON",
        _make_report,
        _read_report,
        _report_of,
        ("report/results.json", "votes.json"),
        _says_report,
    ),
    Reader(
        "run folder",
        "strict JSON and YAML",
        _make_run,
        _read_run,
        _run_of,
        ("run/*.json", "run/*.jsonl", "run/*.yaml", "run/adapter/*.json"),
        _says_run,
    ),
)
