"""An evaluation's time and memory, what its metrics make of planted faults, and how often it cries wolf."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from worldtune.bench.alone import measured_alone
from worldtune.bench.faults import MARGINS, NOTHING, Table, draw_faults, fault_table, kept, write_table
from worldtune.cli.recipes import find_recipe
from worldtune.episodes.clip import Clip
from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.spec import DataSpec
from worldtune.evaluation.case import Case, Video
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.metrics.unusual import alarms, measured, usual
from worldtune.evaluation.place import place_columns
from worldtune.evaluation.planted import FAULTS, shrink_motion
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.evaluation.scorers.gripper_path import path_scorer
from worldtune.evaluation.scorers.unusual import Unusual
from worldtune.evaluation.scoring import Plain, Scorer
from worldtune.evaluation.suite import cases_of, recorded
from worldtune.latents.store import LatentStore
from worldtune.training.data import prepare_held_out
from worldtune.worlds.world import World

SIZE = {"frames": 21, "fps": 16.0, "height": 64, "width": 64}
FEW, MANY, ROUNDS = 25, 100, 3
RECIPE = "pocket-new-view"
Advance = Callable[[int, int], None]


def measure(
    world: World, store: LatentStore, *, quick: bool, plot: Path | None, on_part: Advance = lambda done, total: None
) -> list[Figure]:
    """Every figure; `quick` is a small version without goals of time. `plot` gets the table of faults and a picture."""
    table, case = planted(world, store, 2 if quick else None, on_part)
    if plot:
        write_table(plot / "faults.md", table)
        draw_faults(plot / "faults.png", case)
    return [*speed(quick), *_of_faults(table), *false_alarms(quick)]


def planted(world: World, store: LatentStore, clips: int | None, on_part: Advance) -> tuple[Table, Case]:
    """The table of faults on held-out clips of the new camera, and one of them."""
    found = prepare_held_out(world, find_recipe(RECIPE, []), store, clips)
    columns = place_columns(found.dataset.state_names)
    cases = cases_of(found.clips, "held out", columns)
    path = "not in the small version" if clips else path_scorer(world, found.trained_on, columns, cases, store)
    scorers: list[Scorer] = [Plain(), Unusual([(c.clip.camera, recorded(c.clip)) for c in found.trained_on])]
    if not isinstance(path, str):
        scorers.append(path)
    return fault_table(cases, scorers, on_part), cases[0]


def _of_faults(table: Table) -> Iterator[Figure]:
    for fault in FAULTS:
        for margin in MARGINS[fault]:
            measure_, value = MEASURES[margin.metric], table[fault].get(margin.metric)
            plain = table[NOTHING].get(margin.metric)
            beside = "" if plain is None else f" (without: {plain:.{measure_.digits}f})"
            why = "not run" if value is None else None
            way = "higher" if margin.side == "least" else "lower"
            made = figure(f"{fault}: {measure_.label}{beside}", value, measure_.unit, way, margin.bound, why)  # type: ignore[arg-type]
            assert made["reached"] == kept(margin, value)
            yield made


COMPARE = """
import json, resource, sys, time
from worldtune.bench.evaluate import pairs
from worldtune.evaluation.compare import compare
cases, candidates = pairs(int(sys.argv[1]))
started = time.perf_counter()
compare(cases, candidates)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def pairs(count: int) -> tuple[list[Case], dict[str, Any]]:
    """So many real clips of the pocket, each with a video of a model that moves only four tenths of the way."""
    clips = [*_base("pocket-base"), *_base("pocket-base-held-out")][:count]
    cases = [
        Case(f"{place} {clip.name}", f"{place} {clip.episode}", clip.task, clip.camera, clip.caption, recorded(clip))
        for place, clip in enumerate(clips)
    ]
    return cases, {"base": {case.name: [_shrunk(case)] for case in cases}}


def _shrunk(case: Case) -> Video:
    return Video(lambda: shrink_motion(case.reference.read()), f"shrunk {case.reference.digest}")


def _base(name: str) -> Sequence[Clip]:
    return open_dataset(DataSpec(path=f"builtin:{name}", **SIZE)).train


def speed(quick: bool) -> Iterator[Figure]:
    """Time and memory of comparing a candidate and the frozen control: processes of their own, few and many in turn."""
    few, many, rounds = (2, 4, 1) if quick else (FEW, MANY, ROUNDS)
    runs = [(measured_alone(COMPARE, str(few)), measured_alone(COMPARE, str(many))) for _ in range(rounds)]
    seconds = median(large["seconds"] for _, large in runs)
    growth = median((large["seconds"] / many) / (small["seconds"] / few) for small, large in runs)
    memory = median(large["peak"] / small["peak"] for small, large in runs)
    name = f"{many} clips: a candidate and the frozen control, all weight-free metrics"
    yield figure(name, seconds, "s", "lower", None if quick else 60.0)
    yield figure(f"time of a clip, of {many} over of {few}", growth, "×", "lower", None if quick else 1.1)
    yield figure(f"peak memory, of {many} clips over {few}", memory, "×", "lower", None if quick else 1.1)


def false_alarms(quick: bool) -> Iterator[Figure]:
    """The share of real held-out clips in which nothing is unusual, by other real clips of the same camera."""
    passed: list[bool] = []
    for name, known, judged in _real(8 if quick else None):
        ranges = usual([measured(Film(recorded(clip))) for clip in known])
        its = [not alarms(measured(Film(recorded(clip))), ranges) for clip in judged]
        passed += its
        yield figure(f"real held-out clips without an alarm, {name}", sum(its) / len(its), "", "higher", None)
    name = f"real held-out clips without an alarm, {len(passed)} of all three"
    yield figure(name, sum(passed) / len(passed), "", "higher", None if quick else 0.95)


def _real(count: int | None) -> Iterator[tuple[str, Sequence[Clip], Sequence[Clip]]]:
    for name in (RECIPE, "pocket-new-task"):
        dataset = open_dataset(find_recipe(name, []).data)
        yield name, dataset.train[:count], dataset.held_out[:count]
    yield "pocket-base", _base("pocket-base")[:count], _base("pocket-base-held-out")[:count]
