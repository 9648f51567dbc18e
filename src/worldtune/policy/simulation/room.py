"""The room for improvement of a task: few demonstrations against many, and the replay of true labels.

Asked before any study: without room, or where true labels fail, dreams cannot be shown to help.
"""

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from worldtune.core.progress import Progress, part_of, silent
from worldtune.core.ranges import Count
from worldtune.core.settings import StrictModel
from worldtune.policy.protocol import Policy
from worldtune.policy.simulation.evaluate import evaluate_policies
from worldtune.policy.simulation.replay import replay_commands, replay_path
from worldtune.policy.spec import PolicySpec
from worldtune.policy.training.demonstrations import training_episode
from worldtune.policy.training.train import train_policy
from worldtune.sim.seeds import DEMONSTRATIONS, EVALUATION, RESETS, seed_block

if TYPE_CHECKING:
    from worldtune.sim.demonstration import Demonstration
    from worldtune.sim.scene import Scene

ORACLE = "oracle"


class Room(StrictModel):
    """Successes out of `resets` by K and policy seed, those of the oracle, and the replays that succeed.

    The oracle is trained on the most demonstrations and on true clips of other resets, 1:1. `replayed_commands` and
    `replayed_paths` are the true clips, out of `clips`, whose labels solve the task from the state they began in.
    """

    task: str
    view: str
    resets: Count
    clips: Count
    few: dict[int, list[int]]
    oracle: list[int]
    replayed_commands: Count
    replayed_paths: Count
    seconds: float

    def points(self, k: int) -> float:
        """Return the oracle's success minus that of K demonstrations, in points."""
        return 100 * (float(np.mean(self.oracle)) - float(np.mean(self.few[k]))) / self.resets


def measure_room(
    scene: "Scene",
    ks: Sequence[int],
    clips: int = 48,
    resets: int = 40,
    spec: PolicySpec | None = None,
    seeds: Sequence[int] = (0,),
    draw: int = 0,
    progress: Progress = silent,
) -> Room:
    """Return the room of the scene's task with `ks` demonstrations, against an oracle of `clips` true clips.

    Raise RuntimeError if the scripted expert succeeds on fewer than one of four layouts.
    """
    start, settings = perf_counter(), spec or PolicySpec()
    demos = scene.demonstrate(seed_block(DEMONSTRATIONS, draw), max(ks))
    true_clips = scene.demonstrate(seed_block(RESETS, draw), clips)
    real = [training_episode(demo) for demo in demos]
    others = [replace(training_episode(demo), is_synthetic=True) for demo in true_clips]
    arms = {str(k): real[:k] for k in ks} | {ORACLE: real + others}
    total = len(arms) * len(seeds) * settings.steps
    policies: dict[str, Policy] = {}
    for arm, episodes in arms.items():
        for seed in seeds:
            before = len(policies) * settings.steps
            seeded = settings.model_copy(update={"seed": seed})
            policies[f"{arm} {seed}"], _ = train_policy(episodes, seeded, part_of(progress, before, total))
    found = evaluate_policies(policies, scene, list(seed_block(EVALUATION, 0)[:resets]))
    successes = dict(zip(found.policies, found.success_PR.sum(1).tolist(), strict=True))
    commands, paths = _replays(scene, true_clips, settings.gain)
    return Room(
        task=scene.task.name,
        view=scene.view.name,
        resets=resets,
        clips=clips,
        few={k: [successes[f"{k} {seed}"] for seed in seeds] for k in ks},
        oracle=[successes[f"{ORACLE} {seed}"] for seed in seeds],
        replayed_commands=commands,
        replayed_paths=paths,
        seconds=round(perf_counter() - start, 1),
    )


def _replays(scene: "Scene", clips: "Sequence[Demonstration]", gain: float) -> tuple[int, int]:
    """Return how many clips solve the task by their mean commands, and how many by their path."""
    means = [clip.actions.mean(1) for clip in clips]
    commands = sum(replay_commands(scene, clip.seed, mean) for clip, mean in zip(clips, means, strict=True))
    paths = (
        replay_path(scene, clip.seed, clip.states, mean[:, 3], gain) for clip, mean in zip(clips, means, strict=True)
    )
    return commands, sum(paths)
