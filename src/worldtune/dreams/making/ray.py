"""Dreams on a Ray cluster: many GPUs, on machines that share the folders of bases, adapters and dreams."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import torch

from worldtune.core.ray_tasks import TaskFunction, run_on_ray
from worldtune.core.settings import parse_model
from worldtune.core.strict_io import parse_json
from worldtune.dreams.ledger import DreamRow
from worldtune.dreams.making.plan import Dream
from worldtune.dreams.making.sample import batch_size
from worldtune.dreams.making.worker import DreamWorker
from worldtune.models.load import open_world


@dataclass(frozen=True)
class _Start:
    """What an actor needs to open its own base: the worker without its base."""

    base: str
    device: str
    dtype: torch.dtype
    threads: int


def make_on_ray(worker: DreamWorker, dreams: Sequence[Dream], workers: int) -> Iterator[DreamRow]:
    """Yield the row of each dream as it is made by `workers` actors. Raise UserError as `run_on_ray` does."""
    if not dreams:
        return
    world = worker.world
    source = Path(world.card.source)
    cpus = max(1, (os.cpu_count() or 1) // workers)
    start = _Start(
        str(source.absolute()) if source.exists() else world.card.source, str(world.device), world.dtype, cpus
    )
    absolute = [_with_absolute_path(dream) for dream in dreams]
    tasks = list(_tasks(absolute, batch_size(world, worker.settings.size)))
    gpus = 1 if start.device.startswith("cuda") else 0
    opened = partial(_open_worker, start, _Parts.of(worker))
    for text in run_on_ray(opened, tasks, workers, gpus=gpus, cpus=cpus, to="dream"):
        yield parse_model(DreamRow, parse_json(text, "--executor ray"), "--executor ray")


@dataclass(frozen=True)
class _Parts:
    """The worker's fields other than its base."""

    fields: dict[str, object]

    @classmethod
    def of(cls, worker: DreamWorker) -> "_Parts":
        return cls({name: value for name, value in vars(worker).items() if name != "world"})


def _tasks(dreams: Sequence[Dream], batch: int) -> Iterator[list[Dream]]:
    """Yield batches, each of one adapter."""
    by_model = sorted(dreams, key=lambda dream: dream.model.name)
    for _, group in groupby(by_model, key=lambda dream: dream.model.name):
        model_dreams = list(group)
        for first in range(0, len(model_dreams), batch):
            yield model_dreams[first : first + batch]


def _with_absolute_path(dream: Dream) -> Dream:
    path = dream.model.path
    return dream if path is None else replace(dream, model=replace(dream.model, path=path.absolute()))


def _open_worker(start: _Start, parts: _Parts) -> TaskFunction:
    torch.set_num_threads(start.threads)
    worker = DreamWorker(open_world(start.base, start.device, start.dtype), **parts.fields)  # type: ignore[arg-type]

    def work(dreams: list[Dream]) -> list[str]:
        return [row.model_dump_json() for row in worker.make(dreams)]

    return work
