"""Videos generated on a Ray cluster: many GPUs, on machines with the same folders for bases, adapters and videos."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from worldtune.evaluation.generated import Maker, Model
from worldtune.latents.dataset import LatentClip
from worldtune.ray_tasks import Work, on_ray
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World

TASK = 8  # clips that an actor is given at once


@dataclass(frozen=True)
class Cluster:
    """How many actors make videos, each with a world of its own, as the parent's is."""

    base: str
    device: str
    dtype: torch.dtype
    workers: int

    @classmethod
    def like(cls, world: World, workers: int) -> "Cluster":
        source = Path(world.card.source)
        base = str(source.absolute()) if source.exists() else world.card.source
        return cls(base, str(world.device), world.dtype, workers)

    def make(
        self, maker: Maker, jobs: Sequence[tuple[Model, Sequence[LatentClip]]], on_video: Callable[[str], None]
    ) -> None:
        """The videos of each model and clip that are not kept yet. Raises UserError as `on_ray` does."""
        tasks = [
            (model, list(clips[first : first + TASK])) for model, clips in jobs for first in range(0, len(clips), TASK)
        ]
        cpus = max(1, (os.cpu_count() or 1) // self.workers)
        gpus = 1 if self.device.startswith("cuda") else 0
        start = partial(_start, self, maker, cpus)
        for name in on_ray(start, tasks, self.workers, gpus=gpus, cpus=cpus, to="generate"):
            on_video(name)


def _start(cluster: Cluster, maker: Maker, threads: int) -> Work:
    torch.set_num_threads(threads)
    world = open_world(cluster.base, cluster.device, cluster.dtype)

    def work(task: tuple[Model, list[LatentClip]]) -> list[str]:
        model, clips = task
        maker.make(world, model, clips)
        return [f"{model.name} {clip.clip.name}" for clip in clips for _ in maker.plan.seeds]

    return work
