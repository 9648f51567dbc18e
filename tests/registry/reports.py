"""An evaluation's report of an adapter, as `worldtune evaluate` leaves it, without the evaluation."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.adapters.card import AdapterCard, read_card
from worldtune.evaluation.case import Case, held
from worldtune.evaluation.compare import compare
from worldtune.evaluation.gates import Ruling
from worldtune.evaluation.report.folder import ReportContent, write_report
from worldtune.evaluation.runs import lineage_of


def report_of(adapter: Path, folder: Path, outcome: str = "pass", suite: str | None = "5" * 64) -> Path:
    """The report's folder; its gates rule as they are told to."""
    clip_THWC = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    cases = [Case("a", "a", "push", "top", "push it", held(clip_THWC))]
    clips = {name: {"a": [held(clip_THWC)]} for name in ("base", "other", "new")}
    lineage = lineage_of({"new": read_card(adapter)})
    content = ReportContent(
        "Title", "new", compare(cases, clips), cases, clips, [], {}, lineage, [], "", 16.0,
        rulings={"other": [Ruling("moves", "fail", "")], "new": [Ruling("moves", outcome, "0.9 [0.8, 1.0]")]},  # type: ignore[arg-type]
        suite=suite, gates="6" * 64,
    )  # fmt: skip
    write_report(folder, content)
    return folder


def edit(report: Path, **changed: object) -> Path:
    """Change what results.json says."""
    path = report / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return report


@cache
def _template(adapter: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        found: dict[str, Any] = json.loads((report_of(adapter, Path(place) / "report") / "results.json").read_text())
    return found


def results_of(card: AdapterCard, like: Path, outcome: str = "pass") -> bytes:
    """The results of an evaluation of an adapter; `like` is one for which they were made before, if they were."""
    found = _template(like) | {"lineage": lineage_of({"new": card})}
    found["rulings"]["new"][0]["outcome"] = outcome
    return json.dumps(found).encode()
