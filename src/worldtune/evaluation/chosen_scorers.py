"""Which metrics an evaluation can run besides the plain ones, and why it cannot run the others."""

from collections.abc import Mapping, Sequence

from worldtune.evaluation.case import Video
from worldtune.evaluation.contenders import Contender, adapters_of
from worldtune.evaluation.generated import Maker, models_of
from worldtune.evaluation.held_out import Suite
from worldtune.evaluation.kept import KeptScores
from worldtune.evaluation.runs import TrainedRun
from worldtune.evaluation.scorers.gripper_path import GripperPath, path_scorer
from worldtune.evaluation.scorers.judged import Judged
from worldtune.evaluation.scorers.memory import Memory
from worldtune.evaluation.scorers.other_task import OtherTask, with_other_tasks
from worldtune.evaluation.scorers.unusual import Unusual
from worldtune.evaluation.scorers.views import CrossView
from worldtune.evaluation.scoring import Scorer
from worldtune.evaluation.suite import recorded
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import LatentStore
from worldtune.training.data import spread_by_camera
from worldtune.worlds.world import World

USUAL = 64  # training clips that say what is usual


def choose_scorers(
    world: World,
    run: TrainedRun,
    suite: Suite,
    judged: Mapping[str, Contender],
    maker: Maker,
    store: LatentStore,
    kept: KeptScores,
    memory: Memory | None,
    *,
    other_task: bool,
) -> tuple[list[Scorer], dict[str, str]]:
    """The metrics that the suite's clips allow, and the reason for each that they do not."""
    scorers: list[Scorer] = []
    not_run = {"action_cycle": "no inverse dynamics model is at hand"}
    not_run |= dict.fromkeys(Judged.names, "no judge is named: --judge")
    if memory is not None:
        training = spread_by_camera([clip.clip for clip in suite.trained_on], USUAL)
        scorers += [memory, Unusual([(clip.camera, recorded(clip)) for clip in training], kept)]
    else:
        not_run |= dict.fromkeys([*Memory.names, *Unusual.names], "the clips that were trained on are not at hand")
    path = path_scorer(world, suite.trained_on, suite.columns, suite.headline, store)
    if isinstance(path, str):
        not_run |= dict.fromkeys(GripperPath.names, path)
    else:
        scorers.append(path)
    if run.recipe.data.tile is None:
        not_run["cross_view_ratio"] = "the pictures are of one camera"
    else:
        scorers.append(CrossView(run.recipe.data.tile))
    if len(maker.plan.seeds) < 2:
        not_run["diversity"] = "one seed: ask for more by --seeds"
    if not other_task:
        not_run["prompt_sensitivity"] = "not asked for: --other-task"
    elif swapped := with_other_tasks(suite.clips):
        scorers.append(OtherTask(_swapped(world, swapped, judged, maker)))
    else:
        not_run["prompt_sensitivity"] = "all clips are of one task"
    return scorers, not_run


def _swapped(
    world: World, swapped: Sequence[LatentClip], judged: Mapping[str, Contender], maker: Maker
) -> dict[tuple[str, str, int], Video]:
    return {
        (model.name, case, seed): video
        for model in models_of(adapters_of(judged))
        for case, its in maker.make(world, model, swapped).items()
        for seed, video in zip(maker.plan.seeds, its, strict=True)
    }
