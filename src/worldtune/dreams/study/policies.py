"""The policies of a study: each is trained on the episodes of an arm, and evaluated from the same resets."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from worldtune.core.files import write_json
from worldtune.core.ranges import Count, Seed
from worldtune.core.seeds import derive_seed
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json
from worldtune.dreams.study.arms import arm_episodes
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.settings import Arm, StudySettings
from worldtune.policy.simulation.evaluate import INTERVALS, evaluate_policies
from worldtune.policy.training.train import train_policy
from worldtune.sim.seeds import EVALUATION, seed_block
from worldtune.sim.tasks import TASKS
from worldtune.sim.views import VIEWS


class PolicyResult(StrictModel):
    """The success of one policy from each reset, its training loss, and its seconds."""

    task: str
    draw: Count
    arm: Arm
    seed: Seed
    success: list[bool]
    loss: float
    real: Count
    synthetic: Count
    train_seconds: float
    evaluate_seconds: float


@dataclass(frozen=True)
class PolicyJob:
    """One policy to train and evaluate."""

    task: str
    draw: int
    arm: Arm
    seed: int


def jobs_of(settings: StudySettings, tasks: tuple[str, ...], arms: tuple[Arm, ...]) -> list[PolicyJob]:
    """Return the policies of some tasks and arms, draw by draw."""
    return [
        PolicyJob(task, draw, arm, seed)
        for draw in range(settings.draws)
        for seed in range(settings.policy_seeds)
        for task in tasks
        for arm in arms
    ]


def run_policy(settings: StudySettings, folder: StudyFolder, job: PolicyJob) -> PolicyResult:
    """Train and evaluate one policy, or read its result if it exists.

    The policy's seed does not depend on the arm, so that the arms of a draw and seed are paired.
    """
    path = folder.policy(job.task, job.draw, job.arm, job.seed)
    if path.is_file():
        return read_result(path)
    from worldtune.sim.scene import Scene

    episodes = arm_episodes(settings, folder, job.task, job.draw, job.arm)
    steps = settings.policy.steps
    spec = settings.policy.model_copy(
        update={"seed": derive_seed(job.draw, job.seed), "steps": steps // 2 if job.arm == "real-once" else steps}
    )
    begin = time.monotonic()
    policy, losses = train_policy(episodes, spec)
    trained = time.monotonic()
    seeds = list(seed_block(EVALUATION, 0)[: settings.resets])
    with Scene(TASKS[job.task], VIEWS[settings.view]) as scene:
        matrix = evaluate_policies({"policy": policy}, scene, seeds, INTERVALS)
    result = PolicyResult(
        **vars(job),
        success=matrix.success_PR[0].tolist(),
        loss=sum(losses[-50:]) / len(losses[-50:]),
        real=sum(not episode.is_synthetic for episode in episodes),
        synthetic=sum(episode.is_synthetic for episode in episodes),
        train_seconds=round(trained - begin, 1),
        evaluate_seconds=round(time.monotonic() - trained, 1),
    )
    write_json(path, result.model_dump(mode="json"))
    return result


def read_result(path: Path) -> PolicyResult:
    """Return a saved result. Raise UserError if it is damaged."""
    return parse_model(PolicyResult, read_json(path), str(path))


def use_one_thread() -> None:
    """Compute with one thread in a worker process: the workers share the cores."""
    torch.set_num_threads(1)
