"""What the metrics make of nine faults planted in real held-out videos, each by a stated margin.

The table is of means over the clips of the pocket's new camera; beside a fault stands what must be seen of it.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worldtune.evaluation.case import Case, held
from worldtune.evaluation.comparison import Scores, joined
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.planted import FAULTS, Fault, has_object
from worldtune.evaluation.report.contact_sheet import write_contact_sheet
from worldtune.evaluation.scoring import Scorer, Shot
from worldtune.files import atomic_file
from worldtune.statistics import estimate

NOTHING = "no fault"


@dataclass(frozen=True)
class Margin:
    """A metric's mean must be at least, or at most, so much."""

    metric: str
    side: Literal["least", "most"]
    bound: float


def _far(*more: Margin) -> tuple[Margin, ...]:
    """Every fault is seen in PSNR, and in what else is named."""
    return (Margin("psnr_db", "most", 35.0), *more)


MARGINS: Mapping[str, tuple[Margin, ...]] = {
    "blur": _far(
        Margin("ssim", "most", 0.95),
        Margin("sharpness_ratio", "most", 0.5),
        Margin("match_ratio", "most", 0.5),
        Margin("sampson_ratio", "least", 1.3),
        Margin("alarms", "least", 0.9),
    ),
    "freeze": _far(
        Margin("moving_psnr_db", "most", 25.0), Margin("motion_ratio", "most", 0.6), Margin("path_slope", "most", 0.6)
    ),
    "jitter": _far(
        Margin("motion_ratio", "least", 2.0),
        Margin("background_drift", "least", 5.0),
        Margin("flicker_ratio", "least", 1.1),
        Margin("alarms", "least", 0.9),
    ),
    "object removed": _far(Margin("object_permanence", "most", 0.9)),
    "object duplicated": _far(Margin("object_permanence", "most", 0.9)),
    "colour drift": _far(Margin("background_drift", "least", 8.0), Margin("alarms", "least", 0.9)),
    "time reversed": _far(
        Margin("motion_agreement", "most", 0.3),
        Margin("path_correlation", "most", 0.3),
        Margin("end_point_mm", "least", 200.0),
    ),
    "camera shifted": _far(Margin("background_drift", "least", 3.0), Margin("alarms", "least", 0.9)),
    "motion shrunk": _far(
        Margin("motion_ratio", "most", 0.6),
        Margin("motion_agreement", "most", 0.5),
        Margin("path_slope", "most", 0.6),
        Margin("end_point_mm", "least", 100.0),
    ),
}
Table = Mapping[str, Mapping[str, float | None]]
"""By fault and metric: the mean over the clips to which both apply."""


def fault_table(
    cases: Sequence[Case], scorers: Sequence[Scorer], on_fault: Callable[[int, int], None] = lambda done, total: None
) -> Table:
    """Means of every metric, of the real clips as they are and with each fault."""
    kinds: dict[str, Fault] = {NOTHING: lambda frames_THWC: frames_THWC, **FAULTS}
    table: dict[str, dict[str, float | None]] = {}
    with ThreadPoolExecutor() as pool:
        for done, (name, fault) in enumerate(kinds.items(), start=1):

            def scored(case: Case, name: str = name, fault: Fault = fault) -> Scores | None:
                real = Film(case.reference)
                if name.startswith("object") and not has_object(real.frames_THWC):
                    return None
                shot = Shot(case, name, 0, Film(held(fault(real.frames_THWC))), real, None)
                return joined([scorer.score(shot) for scorer in scorers])

            found = [scores for scores in pool.map(scored, cases) if scores is not None]
            table[name] = {metric: _mean(metric, found) for metric in (found[0].values if found else {})}
            on_fault(done, len(kinds))
    return table


def kept(margin: Margin, value: float | None) -> bool:
    """Is the margin reached?"""
    if value is None:
        return False
    return value >= margin.bound if margin.side == "least" else value <= margin.bound


def write_table(path: Path, table: Table) -> None:
    """The table in Markdown: a row a metric, a column a fault; what a margin is stated of is bold."""
    metrics = [metric for metric in MEASURES if any(row.get(metric) is not None for row in table.values())]
    lines = ["| metric | " + " | ".join(table) + " |", "|---|" + "---|" * len(table)]
    for metric in metrics:
        measure = MEASURES[metric]
        unit = f", {measure.unit}" if measure.unit else ""
        cells = [_cell(fault, metric, row.get(metric)) for fault, row in table.items()]
        lines.append(f"| {measure.label}{unit} | " + " | ".join(cells) + " |")
    with atomic_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw_faults(path: Path, case: Case) -> None:
    """One clip with each of the faults, as a picture."""
    frames_THWC = case.reference.read()
    candidates = {name: {case.name: [held(fault(frames_THWC))]} for name, fault in FAULTS.items()}
    write_contact_sheet(path, [case], candidates, ["reference", *FAULTS], shown=1)


def _cell(fault: str, metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.{MEASURES[metric].digits}f}".replace("-", "−")
    return f"**{text}**" if any(margin.metric == metric for margin in MARGINS.get(fault, ())) else text


def _mean(metric: str, found: Sequence[Scores]) -> float | None:
    """Weighted, as a report's is."""
    weights = [each.weights.get(metric, 1.0) for each in found]
    return estimate([each.values[metric] for each in found], weights=weights).mean
