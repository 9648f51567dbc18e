"""Clips encoded on a Ray cluster: many machines, each with the same folders for sources and store."""

from collections.abc import Sequence
from functools import partial

from worldtune.episodes.clip import Clip
from worldtune.latents.encode import Progress, encode_frames
from worldtune.latents.workers import Encoder, tasks_of
from worldtune.ray_tasks import Work, on_ray


def encode_on_ray(encoder: Encoder, workers: int, clips: Sequence[Clip], on_clip: Progress) -> None:
    """The latents of clips into the store, by `workers` actors of the cluster that RAY_ADDRESS names, or a local one.

    Raises DataError as `encode_frames` does, UserError when Ray is missing or an actor fails.
    """
    gpus = 1 if encoder.device.startswith("cuda") else 0
    tasks = list(tasks_of(clips))
    for name in on_ray(partial(_start, encoder), tasks, workers, gpus=gpus, cpus=encoder.threads, to="encode"):
        on_clip(name)


def _start(encoder: Encoder) -> Work:
    world, store = encoder.open()

    def work(task: list[Clip]) -> list[str]:
        names: list[str] = []
        store.refresh()
        encode_frames(world, task, store, names.append)
        return names

    return work
