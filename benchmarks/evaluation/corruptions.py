"""The metrics on nine synthetic corruptions of real held-out videos, with the margins that they must reach.

The table has means over the clips of the pocket's new camera.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worldtune.core.files import atomic_file
from worldtune.core.progress import Progress, silent
from worldtune.core.statistics import estimate_mean
from worldtune.evaluation.cases.case import Case, video_from_frames
from worldtune.evaluation.judging.synthetic_corruptions import CORRUPTIONS, Corruption, has_object
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.report.contact_sheet import write_contact_sheet
from worldtune.evaluation.scores import Scores, joined
from worldtune.evaluation.scoring.metric_definitions import METRICS
from worldtune.evaluation.scoring.pixel_metrics import Scorer, VideoPair

NO_CORRUPTION = "no corruption"


@dataclass(frozen=True)
class Margin:
    """A bound that the mean of a metric must reach: at least ("least") or at most ("most") `bound`."""

    metric: str
    side: Literal["least", "most"]
    bound: float


def _visible(*more: Margin) -> tuple[Margin, ...]:
    """Return the margin of PSNR, which every corruption must lower, and the given margins."""
    return (Margin("psnr_db", "most", 35.0), *more)


MARGINS: Mapping[str, tuple[Margin, ...]] = {
    "blur": _visible(
        Margin("ssim", "most", 0.95),
        Margin("sharpness_ratio", "most", 0.5),
        Margin("match_ratio", "most", 0.5),
        Margin("sampson_ratio", "least", 1.3),
        Margin("anomalies", "least", 0.9),
    ),
    "freeze": _visible(
        Margin("moving_psnr_db", "most", 25.0), Margin("motion_ratio", "most", 0.6), Margin("path_slope", "most", 0.6)
    ),
    "jitter": _visible(
        Margin("motion_ratio", "least", 2.0),
        Margin("background_drift", "least", 5.0),
        Margin("flicker_ratio", "least", 1.1),
        Margin("anomalies", "least", 0.9),
    ),
    "object removed": _visible(Margin("object_permanence", "most", 0.9)),
    "object duplicated": _visible(Margin("object_permanence", "most", 0.9)),
    "color drift": _visible(Margin("background_drift", "least", 8.0), Margin("anomalies", "least", 0.9)),
    "time reversed": _visible(
        Margin("flow_agreement", "most", 0.3),
        Margin("path_correlation", "most", 0.3),
        Margin("end_point_mm", "least", 200.0),
    ),
    "camera shifted": _visible(Margin("background_drift", "least", 3.0), Margin("anomalies", "least", 0.9)),
    "motion shrunk": _visible(
        Margin("motion_ratio", "most", 0.6),
        Margin("flow_agreement", "most", 0.5),
        Margin("path_slope", "most", 0.6),
        Margin("end_point_mm", "least", 100.0),
    ),
}
Table = Mapping[str, Mapping[str, float | None]]
"""By corruption and metric: the mean over the clips to which both apply."""


def corruption_table(cases: Sequence[Case], scorers: Sequence[Scorer], progress: Progress = silent) -> Table:
    """Return the mean of every metric over the real clips, unchanged and with each corruption."""
    kinds: dict[str, Corruption] = {NO_CORRUPTION: lambda frames_THWC: frames_THWC, **CORRUPTIONS}
    table: dict[str, dict[str, float | None]] = {}
    with ThreadPoolExecutor() as pool:
        for done, (name, corruption) in enumerate(kinds.items(), start=1):

            def score(case: Case, name: str = name, corruption: Corruption = corruption) -> Scores | None:
                real = VideoFeatures(case.reference)
                if name.startswith("object") and not has_object(real.frames_THWC):
                    return None
                pair = VideoPair(
                    case, name, 0, VideoFeatures(video_from_frames(corruption(real.frames_THWC))), real, None
                )
                return joined([scorer.score(pair) for scorer in scorers])

            rows = [scores for scores in pool.map(score, cases) if scores is not None]
            table[name] = {metric: _mean(metric, rows) for metric in (rows[0].values if rows else {})}
            progress(done, len(kinds))
    return table


def is_met(margin: Margin, value: float | None) -> bool:
    """Return whether the value reaches the margin."""
    if value is None:
        return False
    return value >= margin.bound if margin.side == "least" else value <= margin.bound


def write_table(path: Path, table: Table) -> None:
    """Write the table in Markdown: a row for each metric, a column for each corruption. Bold values have a margin."""
    metrics = [metric for metric in METRICS if any(row.get(metric) is not None for row in table.values())]
    lines = ["| metric | " + " | ".join(table) + " |", "|---|" + "---|" * len(table)]
    for metric in metrics:
        definition = METRICS[metric]
        unit = f", {definition.unit}" if definition.unit else ""
        cells = [_cell(corruption, metric, row.get(metric)) for corruption, row in table.items()]
        lines.append(f"| {definition.label}{unit} | " + " | ".join(cells) + " |")
    with atomic_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_corruption_sheet(path: Path, case: Case) -> None:
    """Write a picture of one clip with each corruption."""
    frames_THWC = case.reference.read()
    candidates = {
        name: {case.name: [video_from_frames(corruption(frames_THWC))]} for name, corruption in CORRUPTIONS.items()
    }
    write_contact_sheet(path, [case], candidates, ["reference", *CORRUPTIONS], shown=1)


def _cell(corruption: str, metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.{METRICS[metric].digits}f}".replace("-", "−")
    return f"**{text}**" if any(margin.metric == metric for margin in MARGINS.get(corruption, ())) else text


def _mean(metric: str, rows: Sequence[Scores]) -> float | None:
    """Return the weighted mean, as in a report."""
    weights = [scores.weights.get(metric, 1.0) for scores in rows]
    return estimate_mean([scores.values[metric] for scores in rows], weights=weights).mean
