"""Encode clips on a Ray cluster: many machines, each with the same folders for sources and store."""

from collections.abc import Sequence
from functools import partial

from worldtune.core.progress import Progress, silent
from worldtune.core.ray_tasks import TaskFunction, run_on_ray
from worldtune.data.clip import Clip
from worldtune.latents.encode import encode_frames
from worldtune.latents.encode_processes import EncodeSettings, group_into_tasks


def encode_on_ray(encoder: EncodeSettings, workers: int, clips: Sequence[Clip], progress: Progress = silent) -> None:
    """Encode clips into the store with `workers` actors of the cluster that RAY_ADDRESS names, or a local one.

    Raise DataError as `encode_frames` does, UserError if Ray is missing or an actor fails.
    """
    gpus = 1 if encoder.device.startswith("cuda") else 0
    tasks = list(group_into_tasks(clips))
    names = run_on_ray(partial(_start, encoder), tasks, workers, gpus=gpus, cpus=encoder.threads, to="encode")
    for done, name in enumerate(names, start=1):
        progress(done, len(clips), name)


def _start(encoder: EncodeSettings) -> TaskFunction:
    world, store = encoder.open()

    def work(task: list[Clip]) -> list[str]:
        store.refresh()
        encode_frames(world, task, store)
        return [clip.name for clip in task]

    return work
