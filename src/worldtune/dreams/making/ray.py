"""Dreams on a Ray cluster: many GPUs, on machines that share the folders of bases, adapters and dreams."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from worldtune.core.ray_tasks import TaskFunction, run_on_ray
from worldtune.core.settings import parse_model
from worldtune.core.strict_io import parse_json
from worldtune.dreams.ledger import DreamRow
from worldtune.dreams.making.plan import Batch
from worldtune.dreams.making.worker import DreamWorker
from worldtune.models.load import open_world


@dataclass(frozen=True)
class _Start:
    """What an actor needs to open its own base."""

    base: str
    device: str
    dtype: torch.dtype
    threads: int


def make_on_ray(worker: DreamWorker, batches: Sequence[Batch], workers: int) -> Iterator[DreamRow]:
    """Yield the row of each missing dream as it is made by `workers` actors. Raise UserError as `run_on_ray` does."""
    if not batches:
        return
    world = worker.world
    source = Path(world.card.source)
    cpus = max(1, (os.cpu_count() or 1) // workers)
    start = _Start(
        str(source.absolute()) if source.exists() else world.card.source, str(world.device), world.dtype, cpus
    )
    tasks = [_with_absolute_path(batch) for batch in batches]
    gpus = 1 if start.device.startswith("cuda") else 0
    parts = {name: value for name, value in vars(worker).items() if name != "world"}
    opened = partial(_open_worker, start, partial(DreamWorker, **parts))
    for text in run_on_ray(opened, tasks, workers, gpus=gpus, cpus=cpus, to="dream"):
        yield parse_model(DreamRow, parse_json(text, "--executor ray"), "--executor ray")


def _with_absolute_path(batch: Batch) -> Batch:
    if batch.model.path is None:
        return batch
    model = replace(batch.model, path=batch.model.path.absolute())
    return replace(batch, dreams=tuple(replace(dream, model=model) for dream in batch.dreams))


def _open_worker(start: _Start, make_worker: Callable[..., DreamWorker]) -> TaskFunction:
    torch.set_num_threads(start.threads)
    worker = make_worker(world=open_world(start.base, start.device, start.dtype))

    def work(batch: Batch) -> list[str]:
        return [row.model_dump_json() for row in worker.make([batch])]

    return work
