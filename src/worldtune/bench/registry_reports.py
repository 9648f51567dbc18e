"""An evaluation's report of an adapter, as `worldtune evaluate` leaves it, without the evaluation."""

import json
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.adapters.card import AdapterCard, read_card
from worldtune.evaluation.case import Case, Video, held
from worldtune.evaluation.compare import compare
from worldtune.evaluation.comparison import CaseRow, Comparison
from worldtune.evaluation.gates import NOTHING_ASKED
from worldtune.evaluation.recompute import recomputed
from worldtune.evaluation.report.folder import ReportContent, write_report
from worldtune.evaluation.runs import lineage_of
from worldtune.evaluation.sampling_plan import SamplingPlan, suite_digest

Clips = dict[str, dict[str, list[Video]]]
PLAN = SamplingPlan()
GATES = NOTHING_ASKED.digest
DIFFERS = {"pass": 5.0, "fail": 0.1, "not enough evidence": 5.0}
"""How far the videos of `new` are from the base's, in levels."""


@cache
def _compared(outcome: str) -> tuple[list[Case], Clips, Comparison]:
    """Six clips of which `new` has the scores that the gates let pass, or not; `other` does nothing."""
    draw = np.random.default_rng(0)
    films = {f"{place}": held(draw.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)) for place in range(6)}
    cases = [Case(name, name, "push", "top", "push it", film) for name, film in films.items()]
    clips = {candidate: {name: [film] for name, film in films.items()} for candidate in ("base", "other", "new")}
    made = compare(cases, clips)
    scores: dict[str, float | None] = {"moves": 1.0, "differs": DIFFERS[outcome]}
    return cases, clips, recomputed(replace(made, rows=[_scored(row, scores) for row in made.rows]))


def _scored(row: CaseRow, values: dict[str, float | None]) -> CaseRow:
    new = replace(row.scores["new"], values=row.scores["new"].values | values)
    takes = [replace(take, values=take.values | values) for take in row.takes["new"]]
    return replace(row, scores=row.scores | {"new": new}, takes=row.takes | {"new": takes})


SUITE = suite_digest(_compared("pass")[2].rows, PLAN)


def _loaded(card: AdapterCard, outcome: str = "pass") -> str | None:
    return None if outcome == "not enough evidence" else f"all of it ({card.weights_digest[:12]})"


def report_of(adapter: Path, folder: Path, outcome: str = "pass", plan: SamplingPlan | None = PLAN) -> Path:
    """The report's folder; its scores are such that the gates rule as they are told to."""
    cases, clips, comparison = _compared(outcome)
    lineage = lineage_of({"new": read_card(adapter)})
    content = ReportContent(
        "Title", "new", comparison, cases, clips, [], {}, lineage, [], "", 16.0,
        loaded={"new": _loaded(read_card(adapter), outcome), "other": "all of it"}, plan=plan,
    )  # fmt: skip
    write_report(folder, content)
    return folder


def edit(report: Path, **changed: object) -> Path:
    """Change what results.json says."""
    path = report / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return report


@cache
def _template(adapter: Path, outcome: str) -> str:
    with tempfile.TemporaryDirectory() as place:
        return (report_of(adapter, Path(place) / "report", outcome) / "results.json").read_text()


def results_of(card: AdapterCard, like: Path, outcome: str = "pass") -> bytes:
    """The results of an evaluation of an adapter; `like` is one for which they were made before, if they were."""
    found: dict[str, Any] = json.loads(_template(like, outcome))
    found["lineage"] = lineage_of({"new": card})
    if loaded := _loaded(card, outcome):
        found["loaded"]["new"] = found["rulings"]["new"][0]["why"] = loaded
    return json.dumps(found).encode()
