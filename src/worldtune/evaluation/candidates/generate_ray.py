"""Generation on a Ray cluster: many GPUs, on machines that share the folders of bases, adapters and videos."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from worldtune.core.progress import Progress, silent
from worldtune.core.ray_tasks import TaskFunction, run_on_ray
from worldtune.evaluation.candidates.video_generator import CandidateModel, VideoGenerator
from worldtune.latents.dataset import LatentClip
from worldtune.models.load import open_world
from worldtune.models.world import World

CLIPS_PER_TASK = 8  # clips that an actor gets at once


@dataclass(frozen=True)
class Cluster:
    """A number of Ray actors that generate videos; each opens its own copy of the base model."""

    base: str
    device: str
    dtype: torch.dtype
    workers: int

    @classmethod
    def from_world(cls, world: World, workers: int) -> "Cluster":
        source = Path(world.card.source)
        base = str(source.absolute()) if source.exists() else world.card.source
        return cls(base, str(world.device), world.dtype, workers)

    def generate(
        self,
        generator: VideoGenerator,
        jobs: Sequence[tuple[CandidateModel, Sequence[LatentClip]]],
        progress: Progress = silent,
    ) -> None:
        """Generate the videos of each model's clips that are not cached. Raise UserError as `run_on_ray` does."""
        tasks = [
            (model, list(clips[first : first + CLIPS_PER_TASK]))
            for model, clips in jobs
            for first in range(0, len(clips), CLIPS_PER_TASK)
        ]
        cpus = max(1, (os.cpu_count() or 1) // self.workers)
        gpus = 1 if self.device.startswith("cuda") else 0
        start = partial(_open_worker, self, generator, cpus)
        names = run_on_ray(start, tasks, self.workers, gpus=gpus, cpus=cpus, to="generate")
        total = sum(len(clips) for _, clips in jobs) * len(generator.plan.seeds)
        for done, name in enumerate(names, start=1):
            progress(done, total, name)


def _open_worker(cluster: Cluster, generator: VideoGenerator, threads: int) -> TaskFunction:
    torch.set_num_threads(threads)
    world = open_world(cluster.base, cluster.device, cluster.dtype)

    def work(task: tuple[CandidateModel, list[LatentClip]]) -> list[str]:
        model, clips = task
        generator.generate(world, model, clips)
        return [model.name] * len(clips) * len(generator.plan.seeds)

    return work
