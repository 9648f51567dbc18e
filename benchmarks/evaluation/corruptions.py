"""The metrics on ten synthetic corruptions of real held-out videos, with the margins that they must reach.

The table has means over the clips of the pocket's new camera.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.evaluation.pulled_to_mean import pull_to_mean
from worldtune.core.files import atomic_file
from worldtune.core.progress import Progress, silent
from worldtune.core.statistics import estimate_mean
from worldtune.evaluation.cases.case import Case, Video, video_from_frames
from worldtune.evaluation.judging.synthetic_corruptions import CORRUPTIONS, has_object
from worldtune.evaluation.metrics.end_points import MAX_ERROR_OVER_SPREAD
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.report.contact_sheet import write_contact_sheet
from worldtune.evaluation.scores import Scores, joined
from worldtune.evaluation.scoring.layouts import score_across_cases
from worldtune.evaluation.scoring.metric_definitions import METRICS
from worldtune.evaluation.scoring.pixel_metrics import Scorer, VideoPair

NO_CORRUPTION = "no corruption"
PULLED = "pulled to the mean"
"""The corruption that needs the other clips of the task: each layout's motion is pulled to the mean of the layouts."""


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
        Margin("moving_psnr_db", "most", 25.0),
        Margin("motion_ratio", "most", 0.6),
        Margin("path_slope", "most", 0.6),
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
    PULLED: _visible(
        Margin("path_slope", "least", 0.9),  # blind to this fault: the motion that all layouts share dominates it
        Margin("end_point_slope", "most", 0.3),
        Margin("end_point_over_spread", "least", MAX_ERROR_OVER_SPREAD),
    ),
}
Table = Mapping[str, Mapping[str, float | None]]
"""By corruption and metric: the mean over the clips to which both apply."""


def corruption_table(cases: Sequence[Case], scorers: Sequence[Scorer], progress: Progress = silent) -> Table:
    """Return the mean of every metric over the real clips, unchanged and with each corruption."""
    table: dict[str, dict[str, float | None]] = {}
    kinds = corrupted_videos(cases)
    with ThreadPoolExecutor() as pool:
        for done, (name, videos) in enumerate(kinds.items(), start=1):

            def score(case: Case, name: str = name, videos: Mapping[str, Video] = videos) -> Scores | None:
                real = VideoFeatures(case.reference)
                if name.startswith("object") and not has_object(real.frames_THWC):
                    return None
                corrupted = video_from_frames(videos[case.name].read())  # read it here: features share locks
                pair = VideoPair(case, name, 0, VideoFeatures(corrupted), real, None)
                return joined([scorer.score(pair) for scorer in scorers])

            scored = [
                (case, scores) for case, scores in zip(cases, pool.map(score, cases), strict=True) if scores is not None
            ]
            table[name] = _means(scored)
            progress(done, len(kinds))
    return table


def corrupted_videos(cases: Sequence[Case]) -> dict[str, Mapping[str, Video]]:
    """Return the videos of all cases by corruption: the real ones first, the pulled ones last if paths are known."""
    videos: dict[str, Mapping[str, Video]] = {NO_CORRUPTION: {case.name: case.reference for case in cases}}
    for name, corruption in CORRUPTIONS.items():
        videos[name] = {
            case.name: Video(
                lambda case=case, corruption=corruption: corruption(case.reference.read()),  # type: ignore[misc]
                f"{name} {case.reference.digest}",
            )
            for case in cases
        }
    return videos | {PULLED: pull_to_mean(cases)}


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


def write_corruption_sheet(path: Path, cases: Sequence[Case]) -> None:
    """Write a picture of the first clip with each corruption."""
    videos = corrupted_videos(cases)
    candidates = {name: {cases[0].name: [by_case[cases[0].name]]} for name, by_case in videos.items()}
    write_contact_sheet(path, cases[:1], candidates, ["reference", *CORRUPTIONS, PULLED], shown=1)


def _cell(corruption: str, metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.{METRICS[metric].digits}f}".replace("-", "−")
    return f"**{text}**" if any(margin.metric == metric for margin in MARGINS.get(corruption, ())) else text


def _means(scored: Sequence[tuple[Case, Scores]]) -> dict[str, float | None]:
    """Return the weighted means, as in a report; {} without clips."""
    if not scored:
        return {}
    rows = [scores for _, scores in scored]
    if any(scores.end_point is not None for scores in rows):
        groups = [(case.domain, case.task, case.camera) for case, _ in scored]
        rows = score_across_cases(rows, groups, [case.episode for case, _ in scored])
    return {
        metric: estimate_mean(
            [scores.values[metric] for scores in rows], weights=[scores.weights.get(metric, 1.0) for scores in rows]
        ).mean
        for metric in rows[0].values
    }
