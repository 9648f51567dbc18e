"""A training session on this machine: open the base, prepare the data, train, and return the run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.folder import remove_adapter
from worldtune.core.progress import Progress, silent, stage
from worldtune.data.sources import open_spec_source
from worldtune.errors import RecipeError
from worldtune.latents.store import default_store
from worldtune.models.load import open_world_on
from worldtune.models.transformer.denoiser import DEFAULT_EXECUTION
from worldtune.models.world import World
from worldtune.training.apply_machine_config import BEFORE, check_processes
from worldtune.training.checkpoint import newest_step
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.distributed import Distributed, init_distributed, local_device
from worldtune.training.loop import Callbacks, should_stop, train
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder
from worldtune.training.setup import prepare_run
from worldtune.training.tracking.trackers import check_trackers, tracked
from worldtune.training.validation.validation import exported_losses

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """A finished training run: its folder, its adapter's folder, its recipe, and the adapter's card.

    Stock diffusers can load the adapter's folder too.
    """

    folder: Path
    adapter: Path
    recipe: Recipe
    card: AdapterCard

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one per step and validation: step, loss, lr, grad_norm, held_out_loss, …"""
        return RunFolder(self.folder).rows()

    @property
    def held_out_loss(self) -> tuple[float | None, float | None]:
        """The held-out loss before training, and that of the exported weights; None if it was not measured."""
        return exported_losses(self.metrics, self.card.step, self.card.average)


@dataclass(frozen=True)
class TrainingStart:
    """The clips of a run before its first step, and the step after which a resumed run continues.

    `resumed_after` is None for a new run. If `is_complete`, no step is left to train.
    """

    data: TrainingData
    resumed_after: int | None
    is_complete: bool


@dataclass(frozen=True)
class Session:
    """How to start: `resume` continues from the newest checkpoint, "auto" does so if the folder holds a run.

    `allow_change` lets a run continue with another recipe or other datasets. `device` is "cpu", "cuda" or None.
    """

    resume: bool | Literal["auto"] = False
    allow_change: bool = False
    device: str | None = None


@dataclass(frozen=True)
class Observers:
    """Functions that watch a session and draw its results.

    `describe_step` gets a step's note with its loss, and all validations, and returns the full note. `write_preview`
    gets the world with the adapter, the data, and a path, which is None in a process that writes no files.
    `draw_losses` draws the finished run.
    """

    progress: Progress = silent
    on_start: Callable[[TrainingStart], None] | None = None
    describe_step: Callable[[str, Sequence[Mapping[str, Any]]], str] = lambda note, validations: note
    write_preview: Callable[[World, TrainingData, Path | None], None] = lambda world, data, path: None
    draw_losses: Callable[[Recipe, RunFolder], None] = lambda recipe, run: None


def train_recipe(
    recipe: Recipe, out: Path, session: Session, observers: Observers, base: World | None = None
) -> TrainingRun:
    """Train the recipe's adapter into the run folder `out`, on `base` if it is already open.

    Raise UserError if the folder does not fit `session`, RecipeError if `base` is not the recipe's base, and the
    errors of `prepare_run` and `train`.
    """
    check_trackers(recipe.track)
    distributed = init_distributed(recipe.machine.context_parallel)
    check_processes(recipe.machine, recipe.train.batch, distributed.size)
    run = RunFolder(out, is_main=distributed.is_main)
    if session.resume != "auto":  # check before the base is read
        run.must_exist() if session.resume else run.must_be_new()
    if distributed.is_main and not recipe.data.can_be_evaluated:
        what = "no clips are held out, so worldtune evaluate cannot compare this adapter with its base"
        logger.warning("%s. Add data.held_out=0.2.", what)
    for data in recipe.datasets.values():
        open_spec_source(data)  # report a missing folder before the base is downloaded
    world = _open_base(recipe, session.device, base)
    resume = bool(distributed.broadcast(run.has_started)) if session.resume == "auto" else session.resume
    if resume:
        run.must_exist()
    with run.lock():
        card = _train_locked(world, recipe, run, resume, session.allow_change, distributed, observers)
    return TrainingRun(out, run.adapter, recipe, card)


def _open_base(recipe: Recipe, device: str | None, base: World | None) -> World:
    if base is None:
        return open_world_on(local_device(device), recipe.base, BEFORE)
    if base.card.source != recipe.base:
        what = f"the recipe is for {recipe.base}, but the open base is {base.card.source}"
        raise RecipeError(what, where=recipe.name, hint="Open the recipe's base, or pass no base.")
    return base


def _train_locked(
    world: World,
    recipe: Recipe,
    run: RunFolder,
    resume: bool,
    allow_change: bool,
    distributed: Distributed,
    observers: Observers,
) -> AdapterCard:
    """Prepare and train a run whose folder is locked. Remove the adapter from `world` at the end."""
    data = prepare_run(
        world,
        recipe,
        run,
        default_store(),
        resume=resume,
        allow_change=allow_change,
        progress=stage(observers.progress, "encode"),
        distributed=distributed,
    )
    if distributed.is_main and observers.on_start:
        observers.on_start(_start_of(run, recipe, data, resume))
    with ExitStack() as stack:
        stack.enter_context(distributed.report_lost_ranks())
        if distributed.is_main:
            config = recipe.model_dump(mode="json", by_alias=True)
            run.on_row = stack.enter_context(tracked(recipe.track, run.path.name, run.path, config))
        advance = stage(observers.progress, f"train {recipe.name}")
        stack.enter_context(run.timed())

        def on_step(done: int, total: int, note: str = "") -> None:
            advance(done, total, observers.describe_step(note, run.validations) if distributed.is_main else "")

        def on_preview(world: World, step: int) -> None:
            observers.write_preview(world, data, run.previews / f"step-{step:06d}.mp4" if distributed.is_main else None)

        card = train(
            world,
            recipe,
            data,
            run,
            distributed=distributed,
            resume=resume,
            allow_change=allow_change,
            callbacks=Callbacks(on_step, on_preview),
        )
    remove_adapter(world.denoiser)
    world.execution = DEFAULT_EXECUTION
    if distributed.is_main:
        observers.draw_losses(recipe, run)
    return card


def _start_of(run: RunFolder, recipe: Recipe, data: TrainingData, resume: bool) -> TrainingStart:
    if not resume:
        return TrainingStart(data, None, False)
    step = newest_step(run.checkpoints)
    return TrainingStart(data, step, bool(step and should_stop(run.rows_until(step), recipe, step)))
