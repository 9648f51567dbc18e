"""The evaluation benchmark: time and memory, metrics on synthetic corruptions, false anomalies, default gates."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.evaluation.bad_candidates import gates_on_bad_candidates
from benchmarks.evaluation.corruptions import (
    MARGINS,
    NO_CORRUPTION,
    Table,
    corruption_table,
    is_met,
    write_corruption_sheet,
    write_table,
)
from benchmarks.subprocess_measurement import measure_in_subprocess
from worldtune.core.progress import Progress, silent
from worldtune.data.clip import Clip
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec
from worldtune.evaluation.cases.case import Case, Video
from worldtune.evaluation.cases.clip_cases import make_cases, recorded_video
from worldtune.evaluation.cases.gripper_columns import find_gripper_columns
from worldtune.evaluation.judging.synthetic_corruptions import shrink_motion
from worldtune.evaluation.metrics.anomaly import find_anomalies, fit_normal_ranges, measure_statistics
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.evaluation.scoring.anomaly import AnomalyScorer
from worldtune.evaluation.scoring.gripper_path import build_path_scorer
from worldtune.evaluation.scoring.metric_definitions import METRICS
from worldtune.evaluation.scoring.pixel_metrics import PixelScorer, Scorer
from worldtune.latents.store import LatentStore
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import prepare_held_out
from worldtune.training.recipe import find_recipe

SIZE = {"frames": 21, "fps": 16.0, "height": 64, "width": 64}
FEW, MANY, ROUNDS = 25, 100, 3
RECIPE = "pocket-new-view"


def measure(
    world: World, store: LatentStore, *, quick: bool, plot: Path | None, on_part: Progress = silent
) -> list[Figure]:
    """Return all figures; `quick` is a small version without goals. Write table and picture to the folder `plot`."""
    table, cases = run_corruptions(world, store, 2 if quick else None, on_part)
    if plot:
        write_table(plot / "faults.md", table)
        write_corruption_sheet(plot / "faults.png", cases)
    gates = gates_on_bad_candidates(world, store, quick=quick)
    return [*measure_speed(quick), *_corruption_figures(table), *false_anomaly_rates(quick), *gates]


def run_corruptions(world: World, store: LatentStore, clips: int | None, on_part: Progress) -> tuple[Table, list[Case]]:
    """Return the table of corruptions on held-out clips of the new camera, and its cases."""
    found = prepare_held_out(world, find_recipe(RECIPE, []), store, clips)
    columns = find_gripper_columns(found.dataset.state_names)
    cases = make_cases(found.clips, "held out", columns)
    path = "not in the small version" if clips else build_path_scorer(world, found.trained_on, columns, cases, store)
    scorers: list[Scorer] = [
        PixelScorer(),
        AnomalyScorer([(c.clip.camera, recorded_video(c.clip)) for c in found.trained_on]),
    ]
    if not isinstance(path, str):
        scorers.append(path)
    return corruption_table(cases, scorers, on_part), cases


def _corruption_figures(table: Table) -> Iterator[Figure]:
    for corruption, margins in MARGINS.items():
        for margin in margins:
            metric, value = METRICS[margin.metric], table[corruption].get(margin.metric)
            plain = table[NO_CORRUPTION].get(margin.metric)
            reference = "" if plain is None else f" (without: {plain:.{metric.digits}f})"
            why = "not run" if value is None else None
            direction = "higher" if margin.side == "least" else "lower"
            name = f"{corruption}: {metric.label}{reference}"
            row = figure(name, value, metric.unit, direction, margin.bound, why)  # type: ignore[arg-type]
            assert row["reached"] == is_met(margin, value)
            yield row


COMPARE = """
import json, resource, sys, time
from benchmarks.evaluation.evaluate import make_pairs
from worldtune.evaluation.comparison.compare import compare
cases, candidates = make_pairs(int(sys.argv[1]))
started = time.perf_counter()
compare(cases, candidates)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def make_pairs(count: int) -> tuple[list[Case], dict[str, Any]]:
    """Return `count` real clips of the pocket as cases, each with a video that moves only four tenths of the way."""
    clips = [*_read_pocket("pocket-base"), *_read_pocket("pocket-base-held-out")][:count]
    cases = [
        Case(
            f"{index} {clip.name}",
            f"{index} {clip.episode}",
            clip.task,
            clip.camera,
            clip.caption,
            recorded_video(clip),
        )
        for index, clip in enumerate(clips)
    ]
    return cases, {"base": {case.name: [_shrink_motion(case)] for case in cases}}


def _shrink_motion(case: Case) -> Video:
    return Video(lambda: shrink_motion(case.reference.read()), f"shrunk {case.reference.digest}")


def _read_pocket(name: str) -> Sequence[Clip]:
    return open_dataset(DataSpec(path=f"builtin:{name}", **SIZE)).train


def measure_speed(quick: bool) -> Iterator[Figure]:
    """Yield time and memory of a comparison. Each run has its own process; small and large runs alternate."""
    few, many, rounds = (2, 4, 1) if quick else (FEW, MANY, ROUNDS)
    runs = [
        (measure_in_subprocess(COMPARE, str(few)), measure_in_subprocess(COMPARE, str(many))) for _ in range(rounds)
    ]
    seconds = median(large["seconds"] for _, large in runs)
    growth = median((large["seconds"] / many) / (small["seconds"] / few) for small, large in runs)
    memory = median(large["peak"] / small["peak"] for small, large in runs)
    name = f"{many} clips: a candidate and the frozen control, all weight-free metrics"
    yield figure(name, seconds, "s", "lower", None if quick else 60.0)
    yield figure(f"time per clip, {many} clips over {few}", growth, "×", "lower", None if quick else 1.1)
    yield figure(f"peak memory, {many} clips over {few}", memory, "×", "lower", None if quick else 1.1)


def false_anomaly_rates(quick: bool) -> Iterator[Figure]:
    """Yield the share of real held-out clips without an anomaly, relative to training clips of the same camera."""
    passed: list[bool] = []
    for name, training, held_out in _read_real_clips(8 if quick else None):
        ranges = fit_normal_ranges([measure_statistics(VideoFeatures(recorded_video(clip))) for clip in training])
        clean = [
            not find_anomalies(measure_statistics(VideoFeatures(recorded_video(clip))), ranges) for clip in held_out
        ]
        passed += clean
        yield figure(f"real held-out clips without an anomaly, {name}", sum(clean) / len(clean), "", "higher", None)
    name = f"real held-out clips without an anomaly, {len(passed)} of all three"
    yield figure(name, sum(passed) / len(passed), "", "higher", None if quick else 0.95)


def _read_real_clips(count: int | None) -> Iterator[tuple[str, Sequence[Clip], Sequence[Clip]]]:
    for name in (RECIPE, "pocket-new-task"):
        dataset = open_dataset(find_recipe(name, []).data)
        yield name, dataset.train[:count], dataset.held_out[:count]
    yield "pocket-base", _read_pocket("pocket-base")[:count], _read_pocket("pocket-base-held-out")[:count]
