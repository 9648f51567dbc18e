"""The shipped gates on the demo's adapter and on candidates that are bad for a known reason.

No bad candidate may pass, and it must fail for its known reason. The adapter must pass the default gates. The default
gates do not see that each motion is pulled to the mean of its task; the gates of dreams must.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from benchmarks.evaluation.pulled_to_mean import pull_to_mean
from worldtune.api import train
from worldtune.cli.demo_goals import CLIPS, QUICK, STEPS
from worldtune.core.files import cache_folder
from worldtune.evaluation.cache.video_cache import VideoCache
from worldtune.evaluation.candidates.baselines import frozen_video
from worldtune.evaluation.candidates.video_generator import VideoGenerator, generate_candidates
from worldtune.evaluation.cases.case import BASE_DOMAIN, Case, Frames, Video
from worldtune.evaluation.cases.clip_cases import make_cases, recorded_video
from worldtune.evaluation.cases.gripper_columns import find_gripper_columns
from worldtune.evaluation.codec_loss import decode_round_trips
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.comparison.gates import (
    DEFAULT,
    DREAMS,
    GateResult,
    apply_gates,
    overall_outcome,
    read_gate_policy,
)
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.evaluation.results import CODEC, NEAREST, Comparison
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.evaluation.scoring.gripper_path import build_path_scorer
from worldtune.evaluation.scoring.memorization import MemorizationScorer
from worldtune.evaluation.scoring.pixel_metrics import Scorer
from worldtune.latents.store import LatentStore
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import prepare_held_out
from worldtune.training.recipe import Recipe, find_recipe
from worldtune.training.run_folder import RunFolder

RECIPE = "pocket-new-view"
DEMO_ADAPTER = "the demo's adapter"
PULLED_CANDIDATE = "each motion pulled to the mean"
QUICK_CLIPS = 3  # clips of the small version


def gates_on_bad_candidates(world: World, store: LatentStore, *, quick: bool) -> Iterator[Figure]:
    """Yield a figure for each candidate: whether it passes the shipped gates, and the gates it does not pass."""
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        recipe = find_recipe(RECIPE, QUICK if quick else [])
        train(recipe, run.path, base=world)
        comparison = compare_bad_candidates(
            world, recipe, run.adapter, store, QUICK_CLIPS if quick else CLIPS, 2 if quick else STEPS
        )
    for name in comparison.tested_candidates:
        policy = DREAMS if name == PULLED_CANDIDATE else DEFAULT
        results = apply_gates(comparison, name, read_gate_policy(policy), "all tensors")
        passes = float(overall_outcome(results) == "pass")
        goal = 1.0 if name == DEMO_ADAPTER else 0.0
        better: Literal["higher", "lower"] = "higher" if name == DEMO_ADAPTER else "lower"
        text = f"{policy} gates, {name}: {_describe(results)}"
        yield figure(text, passes, "", better, None if quick else goal)


def compare_bad_candidates(
    world: World, recipe: Recipe, adapter: Path, store: LatentStore, clips: int, steps: int
) -> Comparison:
    """Compare the adapter, the base and the bad candidates on `clips` held-out clips and clips of the base domain."""
    found = prepare_held_out(world, recipe, store, clips)
    columns = find_gripper_columns(found.dataset.state_names)
    base_domain = [replace(c, clip=replace(c.clip, episode=f"base {c.clip.episode}")) for c in found.base_domain]
    shown = [*found.clips, *base_domain]
    headline = make_cases(found.clips, "held out", columns)
    cases = [*headline, *make_cases(base_domain, BASE_DOMAIN, columns)]
    video_cache = VideoCache(cache_folder() / "videos")
    memorization = MemorizationScorer([recorded_video(clip.clip) for clip in found.trained_on])
    candidates = generate_candidates(
        world, {DEMO_ADAPTER: adapter}, shown, VideoGenerator(SamplingPlan(steps=steps), video_cache)
    )
    candidates[CODEC] = decode_round_trips(world, shown, video_cache)
    candidates[NEAREST] = {case.name: [memorization.nearest_to(case)] for case in cases}
    bad_candidates: dict[str, Callable[[Case], Video]] = {
        "a frozen frame": frozen_video,
        "a smear": _smear_video,
        "the nearest training clip": memorization.nearest_to,
    }
    candidates |= {
        name: {case.name: [make_video(case)] for case in cases} for name, make_video in bad_candidates.items()
    }
    candidates[PULLED_CANDIDATE] = {name: [video] for name, video in pull_to_mean(cases).items()}
    small = clips < CLIPS  # no path metrics: training their reader takes long
    path = "not in the small version" if small else build_path_scorer(world, found.trained_on, columns, headline, store)
    scorers: list[Scorer] = [memorization, *([] if isinstance(path, str) else [path])]
    return compare(cases, candidates, baselines=[NEAREST], scorers=scorers)


def smear(frames_THWC: Frames) -> Frames:
    """Replace each frame by the mean of all frames up to it, like a model that averages over possible futures."""
    counts_T = np.arange(1, len(frames_THWC) + 1)[:, None, None, None]
    return (np.cumsum(frames_THWC, axis=0, dtype=np.float64) / counts_T).round().astype(np.uint8)


def _smear_video(case: Case) -> Video:
    return Video(lambda: smear(case.reference.read()), f"smeared {case.reference.digest}", case.name)


def _describe(gate_results: list[GateResult]) -> str:
    """Return the outcome and the gates that did not pass."""
    failed = "; ".join(
        gate_result.gate for gate_result in gate_results if gate_result.outcome not in ("pass", "does not apply")
    )
    return f"{overall_outcome(gate_results)} ({failed})" if failed else overall_outcome(gate_results)
