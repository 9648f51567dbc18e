"""Choose the optional metrics that an evaluation can run, and give a reason for each that it cannot run."""

from collections.abc import Mapping, Sequence

from worldtune.data.splits.spread import spread_by_camera
from worldtune.evaluation.cache.score_cache import ScoreCache
from worldtune.evaluation.candidates.candidate import Candidate, adapter_folders
from worldtune.evaluation.candidates.video_generator import VideoGenerator, list_models
from worldtune.evaluation.cases.case import Video
from worldtune.evaluation.cases.clip_cases import recorded_video
from worldtune.evaluation.cases.held_out import Suite
from worldtune.evaluation.cases.runs import TrainedRun
from worldtune.evaluation.scoring.anomaly import AnomalyScorer
from worldtune.evaluation.scoring.cross_view import CrossViewScorer
from worldtune.evaluation.scoring.gripper_path import GripperPathScorer, build_path_scorer
from worldtune.evaluation.scoring.judge_scores import JudgeScorer
from worldtune.evaluation.scoring.memorization import MemorizationScorer
from worldtune.evaluation.scoring.metric_definitions import ACROSS_CASES
from worldtune.evaluation.scoring.pixel_metrics import Scorer
from worldtune.evaluation.scoring.prompt_sensitivity import PromptScorer, swap_prompts
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import LatentStore
from worldtune.models.world import World

MAX_REAL_CLIPS = 64  # training clips that define the normal ranges


def choose_scorers(
    world: World,
    run: TrainedRun,
    suite: Suite,
    seeds: Sequence[int],
    store: LatentStore,
    score_cache: ScoreCache,
    memorization: MemorizationScorer | None,
) -> tuple[list[Scorer], dict[str, str]]:
    """Return the scorers that the suite's clips allow, and the reason for each metric that they do not."""
    scorers: list[Scorer] = []
    not_run = {"action_cycle": "no inverse dynamics model is available"}
    not_run |= dict.fromkeys(JudgeScorer.names, "no judge was given: --judge")
    if memorization is not None:
        training = spread_by_camera([clip.clip for clip in suite.trained_on], MAX_REAL_CLIPS)
        scorers += [
            memorization,
            AnomalyScorer([(clip.camera, recorded_video(clip)) for clip in training], score_cache),
        ]
    else:
        not_run |= dict.fromkeys(
            [*MemorizationScorer.names, *AnomalyScorer.names], "the training clips are not available"
        )
    path = build_path_scorer(world, suite.trained_on, suite.columns, suite.headline, store)
    if isinstance(path, str):
        not_run |= dict.fromkeys((*GripperPathScorer.names, *ACROSS_CASES), path)
    else:
        scorers.append(path)
    if run.recipe.data.tile is None:
        not_run["cross_view_ratio"] = "the videos show one camera"
    else:
        scorers.append(CrossViewScorer(run.recipe.data.tile))
    if len(seeds) < 2:
        not_run["diversity"] = "only one seed: use --seeds"
    return scorers, not_run


def other_task_scorer(
    world: World, suite: Suite, candidates: Mapping[str, Candidate], generator: VideoGenerator
) -> PromptScorer | str:
    """Generate each clip with another task's prompt and return the scorer, or a reason if there is only one task."""
    swapped = swap_prompts(suite.clips)
    return (
        PromptScorer(_generate_swapped(world, swapped, candidates, generator))
        if swapped
        else "all clips have the same task"
    )


def _generate_swapped(
    world: World, swapped: Sequence[LatentClip], candidates: Mapping[str, Candidate], generator: VideoGenerator
) -> dict[tuple[str, str, int], Video]:
    return {
        (model.name, case, seed): video
        for model in list_models(adapter_folders(candidates))
        for case, case_videos in generator.generate(world, model, swapped).items()
        for seed, video in zip(generator.plan.seeds, case_videos, strict=True)
    }
