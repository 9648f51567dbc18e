"""What a training run loses to all that is not training: checkpoints, its log, and waiting for clips."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from worldtune.latents.store import LatentStore
from worldtune.training import loop
from worldtune.training.batches import Batches
from worldtune.training.recipe import Recipe
from worldtune.training.run import RunFolder
from worldtune.training.session import prepare_run
from worldtune.training.state import TrainingState
from worldtune.worlds.load import open_world


@dataclass(frozen=True)
class Overhead:
    """Shares of a run's time: checkpoints and the log, and waiting for clips after the first step."""

    writing: float
    waiting: float


def measure_overhead(recipe: Recipe, folder: Path, store: LatentStore) -> Overhead:
    """One run of `recipe` in `folder`, from the birth proof to the exported adapter; clips are encoded before."""
    world, run = open_world(recipe.base), RunFolder(folder)
    data = prepare_run(world, recipe, run, store, resume=False)
    with (
        timed(TrainingState, "save") as saving,
        timed(loop, "prune") as pruning,
        timed(RunFolder, "log") as logging,
        timed(Batches, "of") as reading,
    ):
        started = time.perf_counter()
        loop.train(world, recipe, data, run)
        whole = time.perf_counter() - started
    return Overhead(sum(saving + pruning + logging) / whole, sum(reading[1:]) / whole)


@contextmanager
def timed(owner: Any, name: str) -> Iterator[list[float]]:
    """Within, the seconds of every call of `owner.name` are noted."""
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
