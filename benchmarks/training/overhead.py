"""The overhead of a training run: time for checkpoints and the log, and waiting for clips."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from worldtune.latents.store import LatentStore
from worldtune.models.load import open_world
from worldtune.training import loop
from worldtune.training.data.batches import Batches
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder
from worldtune.training.setup import prepare_run
from worldtune.training.state import TrainingState


@dataclass(frozen=True)
class Overhead:
    """Shares of a run's time: writing checkpoints and the log, and waiting for clips after the first step."""

    writing: float
    waiting: float


def measure_overhead(recipe: Recipe, folder: Path, store: LatentStore) -> Overhead:
    """Train `recipe` in `folder`, from the preflight check to the exported adapter, with clips encoded before."""
    world, run = open_world(recipe.base), RunFolder(folder)
    data = prepare_run(world, recipe, run, store, resume=False)
    with (
        time_calls(TrainingState, "save") as saving,
        time_calls(loop, "prune") as pruning,
        time_calls(RunFolder, "log") as logging,
        time_calls(Batches, "of") as reading,
    ):
        started = time.perf_counter()
        loop.train(world, recipe, data, run)
        whole = time.perf_counter() - started
    return Overhead(sum(saving + pruning + logging) / whole, sum(reading[1:]) / whole)


@contextmanager
def time_calls(owner: Any, name: str) -> Iterator[list[float]]:
    """Record the seconds of every call of `owner.name` inside the block."""
    plain, seconds = getattr(owner, name), list[float]()

    @wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return plain(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - started)

    setattr(owner, name, call)
    try:
        yield seconds
    finally:
        setattr(owner, name, plain)
