"""An evaluation report of an adapter, as `worldtune evaluate` writes it, without running the evaluation."""

import json
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.adapters.card import AdapterCard, read_card
from worldtune.evaluation.cases.case import Case, Video, video_from_frames
from worldtune.evaluation.cases.runs import collect_lineage
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.comparison.gates import NO_GATES
from worldtune.evaluation.comparison.recompute import recompute
from worldtune.evaluation.report.folder import ReportContent, write_report
from worldtune.evaluation.results import CaseRow, Comparison
from worldtune.evaluation.sampling_plan import SamplingPlan, suite_digest

Clips = dict[str, dict[str, list[Video]]]
PLAN = SamplingPlan()
GATES = NO_GATES.digest
DIFFERS = {"pass": 5.0, "fail": 0.1, "not enough evidence": 5.0}
"""The difference between the videos of `new` and the base, in levels, by outcome."""


@cache
def _compare_cases(outcome: str) -> tuple[list[Case], Clips, Comparison]:
    """Return six clips where the scores of `new` give the outcome, and `other` does nothing."""
    draw = np.random.default_rng(0)
    videos = {
        f"{place}": video_from_frames(draw.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)) for place in range(6)
    }
    cases = [Case(name, name, "push", "top", "push it", video) for name, video in videos.items()]
    clips = {candidate: {name: [video] for name, video in videos.items()} for candidate in ("base", "other", "new")}
    comparison = compare(cases, clips)
    scores: dict[str, float | None] = {"moves": 1.0, "base_difference": DIFFERS[outcome]}
    return cases, clips, recompute(replace(comparison, rows=[_with_scores(row, scores) for row in comparison.rows]))


def _with_scores(row: CaseRow, values: dict[str, float | None]) -> CaseRow:
    new = replace(row.scores["new"], values=row.scores["new"].values | values)
    seed_scores = [replace(seed_score, values=seed_score.values | values) for seed_score in row.seed_scores["new"]]
    return replace(row, scores=row.scores | {"new": new}, seed_scores=row.seed_scores | {"new": seed_scores})


SUITE = suite_digest(_compare_cases("pass")[2].rows, PLAN)


def _loaded(card: AdapterCard, outcome: str = "pass") -> str | None:
    return None if outcome == "not enough evidence" else f"all of it ({card.weights_digest[:12]})"


def write_report_of(adapter: Path, folder: Path, outcome: str = "pass", plan: SamplingPlan | None = PLAN) -> Path:
    """Write a report whose scores give the outcome, and return its folder."""
    cases, clips, comparison = _compare_cases(outcome)
    lineage = collect_lineage({"new": read_card(adapter)})
    content = ReportContent(
        "Title", "new", comparison, cases, clips, [], {}, lineage, [], "", 16.0,
        loaded={"new": _loaded(read_card(adapter), outcome), "other": "all of it"}, plan=plan,
    )  # fmt: skip
    write_report(folder, content)
    return folder


def edit_results(report: Path, **changed: object) -> Path:
    """Change fields of results.json."""
    path = report / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return report


@cache
def _template(adapter: Path, outcome: str) -> str:
    with tempfile.TemporaryDirectory() as place:
        return (write_report_of(adapter, Path(place) / "report", outcome) / "results.json").read_text()


def make_results(card: AdapterCard, like: Path, outcome: str = "pass") -> bytes:
    """Return evaluation results for an adapter's card; those of the adapter `like` are cached as the template."""
    results: dict[str, Any] = json.loads(_template(like, outcome))
    results["lineage"] = collect_lineage({"new": card})
    if loaded := _loaded(card, outcome):
        results["loaded"]["new"] = results["gate_results"]["new"][0]["why"] = loaded
    return json.dumps(results).encode()
