"""The training loop. Each function that it calls is in a short file."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.inject import inject
from worldtune.adapters.layers.initialization import frozen_factors
from worldtune.core.progress import Progress, silent
from worldtune.models.world import World
from worldtune.training.apply_machine_config import apply_machine_config, prepare_denoiser
from worldtune.training.checkpoint import find_checkpoint, newest_step, prune
from worldtune.training.checks.nan_guard import check_finite_values
from worldtune.training.checks.preflight import preflight
from worldtune.training.data.batches import Batches, MicroBatch
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.distributed import SINGLE_PROCESS, Distributed
from worldtune.training.export import FinishedTraining, export
from worldtune.training.flow_matching_loss import loss_per_clip
from worldtune.training.recipe import Recipe, Train
from worldtune.training.run_folder import RunFolder
from worldtune.training.state import TrainingState
from worldtune.training.tracking.lineage import lineage
from worldtune.training.validation.validation import Row, best_validation, choose_export, is_out_of_patience, validate


@dataclass(frozen=True)
class Callbacks:
    """Functions that the loop calls: `progress` after each step, `on_preview` every `train.preview_every` steps."""

    progress: Progress = silent
    on_preview: Callable[[World, int], None] = lambda world, step: None


def train(
    world: World,
    recipe: Recipe,
    data: TrainingData,
    run: RunFolder,
    *,
    distributed: Distributed = SINGLE_PROCESS,
    resume: bool = False,
    allow_change: bool = False,
    callbacks: Callbacks = Callbacks(),
) -> AdapterCard:
    """Train the recipe's adapter on `world`, from the newest checkpoint if `resume`, and export it.

    Raise PreflightError if the adapter provably does nothing; UserError if a loss is not finite, a checkpoint cannot
    be written, the base or the datasets of a resumed run changed, or a process of the run is lost.
    """
    settings, shift = recipe.train, world.card.shift(recipe.train.shift)
    parameters = inject(prepare_denoiser(world, settings), recipe.adapter, settings.seed, data.action_form)
    apply_machine_config(world, recipe.machine, distributed, settings.batch)
    preflight_state = preflight(world, recipe.adapter, parameters, data.train, shift, distributed, settings.main_mode)
    state = TrainingState(parameters, settings, frozen_factors(world.denoiser))
    step = distributed.broadcast(newest_step(run.checkpoints)) if resume else 0
    if step:
        state.load(find_checkpoint(run.checkpoints, step))
        if should_stop(run.rows_until(step), recipe, step):
            run.check_useful(recipe)
    origin = run.save_lineage(lineage(world, recipe, data, distributed), allow_change=allow_change)
    run.save_recipe(recipe)
    run.truncate_after(step)
    if step == 0:
        run.log(step=0, **validate(world, recipe, data, state, distributed))

    save = partial(_save_checkpoint, state, run, settings, distributed)
    with Batches(data, recipe, shift, distributed.shard(settings.batch)) as batches:
        while not should_stop(run.validations, recipe, step):
            state.zero_grad()  # before the forward pass, so that gradients and activations never share the memory
            micro_batches = batches.of(step)
            local_loss = _accumulate_gradients(world, micro_batches, settings.batch, run, step)
            distributed.all_reduce_gradients(parameters.values())
            loss, norm = distributed.all_reduce_number(local_loss), state.clip_gradients()
            rate = learning_rate(settings, step)
            check_finite_values("gradient's norm", norm, micro_batches, run, step, partial(save, step))
            state.step(rate, step + 1)
            step += 1

            run.log(step=step, loss=loss, lr=settings.lr * rate, grad_norm=norm)
            callbacks.progress(step, settings.steps, f"loss {loss:.3f}")
            if step % recipe.check.every == 0 or step == settings.steps:
                run.log(step=step, **validate(world, recipe, data, state, distributed))
            if settings.preview_every and step % settings.preview_every == 0:
                callbacks.on_preview(world, step)
            if _is_checkpoint_due(run.validations, recipe, step):
                save(step)

    finished = FinishedTraining(run, state, preflight_state, origin)
    step, average = choose_export(run.validations, recipe, step)
    return export(world, recipe, data, finished, run.adapter, step, average, distributed)


def _accumulate_gradients(
    world: World, micro_batches: Sequence[MicroBatch], batch: int, run: RunFolder, step: int
) -> float:
    """Add the gradients of the mean loss over a batch of `batch` clips; return this process's part of that loss."""
    loss = 0.0
    for micro_batch in micro_batches:
        loss_B = loss_per_clip(world, micro_batch.z_BCTHW, micro_batch.text_BND, micro_batch.draws, micro_batch.actions)
        check_finite_values("loss", loss_B, [micro_batch], run, step)
        (loss_B.sum() / batch).backward()
        loss += loss_B.sum().item() / batch
    return loss


def _is_checkpoint_due(validations: Sequence[Row], recipe: Recipe, step: int) -> bool:
    """Return whether `step` is a multiple of `checkpoint_every`, the best validation so far, or the last step."""
    best = best_validation(validations)
    is_best = best is not None and best.step == step
    return step % recipe.train.checkpoint_every == 0 or is_best or should_stop(validations, recipe, step)


def _save_checkpoint(
    state: TrainingState, run: RunFolder, settings: Train, distributed: Distributed, step: int
) -> None:
    """Save the state after `step` steps, and remove the checkpoints that are no longer needed."""
    distributed.check_replicas_equal(state.parameters, step)
    if distributed.is_main:
        state.save(run.checkpoints, step)
        best = best_validation(run.validations)
        prune(run.checkpoints, settings.keep_checkpoints, best.step if best else None)
    distributed.barrier()


def should_stop(rows: Sequence[Row], recipe: Recipe, step: int) -> bool:
    """Return whether training ends after `step` steps: all are done, or the held-out loss of `rows` stopped falling."""
    return step >= recipe.train.steps or is_out_of_patience(rows, recipe.check.patience)


def learning_rate(settings: Train, step: int) -> float:
    """Return a step's share of the highest rate: linear warm-up, then constant, linear or cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    share = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share))}[settings.schedule]
