"""Export the adapter of a checkpoint, or one of its moving averages, from an earlier run."""

from pathlib import Path

from worldtune.adapters.inject import inject
from worldtune.adapters.layers.initialization import frozen_factors
from worldtune.core.progress import Progress, silent, stage
from worldtune.errors import UserError, did_you_mean
from worldtune.latents.store import default_store
from worldtune.models.load import open_world_on
from worldtune.training.apply_machine_config import BEFORE, apply_machine_config, prepare_denoiser
from worldtune.training.checkpoint import newest_step
from worldtune.training.checks.preflight import preflight
from worldtune.training.data.encode_datasets import prepare_data
from worldtune.training.distributed import SINGLE_PROCESS
from worldtune.training.export import FinishedTraining, export
from worldtune.training.recipe import Recipe, load_recipe
from worldtune.training.run_folder import RunFolder
from worldtune.training.session import TrainingRun
from worldtune.training.state import TrainingState
from worldtune.training.tracking.lineage import lineage


def export_checkpoint(
    run: Path,
    out: Path,
    *,
    step: int | None = None,
    average: str | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> TrainingRun:
    """Write the adapter of a run's checkpoint into `out`, with the checks of training, and return the run with it.

    `step` is by default that of the newest checkpoint; `average` names a moving average of train.ema. Raise UserError
    if `out` exists, or if the run has no such checkpoint or average; PreflightError if the weights change nothing.
    """
    folder, recipe = RunFolder(run), load_recipe(run / "recipe.yaml", [])
    if out.exists():
        raise UserError("the folder already exists", where=str(out), hint="Choose another folder with --out.")
    _check_average(recipe, average, run)
    step = newest_step(folder.checkpoints) if step is None else step
    if not step:
        raise UserError("the run has no checkpoint", where=str(run), hint="Train it first.")
    machine = recipe.machine.model_copy(update={"shard_base": False, "context_parallel": 1})
    with folder.lock():
        world = open_world_on(device, recipe.base, BEFORE)
        data = prepare_data(world, recipe, default_store(), stage(progress, "encode"))
        parameters = inject(prepare_denoiser(world, recipe.train), recipe.adapter, recipe.train.seed)
        apply_machine_config(world, machine, SINGLE_PROCESS, recipe.train.batch)
        shift = world.card.shift(recipe.train.shift)
        preflight_state = preflight(world, recipe.adapter, parameters, data.train, shift, mode=recipe.train.main_mode)
        state = TrainingState(parameters, recipe.train, frozen_factors(world.denoiser))
        origin = folder.check_lineage(lineage(world, recipe, data))
        card = export(world, recipe, data, FinishedTraining(folder, state, preflight_state, origin), out, step, average)
    return TrainingRun(run, out, recipe, card)


def _check_average(recipe: Recipe, average: str | None, run: Path) -> None:
    names = recipe.train.ema.names
    if average is not None and average not in names:
        hint = did_you_mean(average, names, f"It has {', '.join(names) or 'none: train with train.ema'}.")
        raise UserError(f"the run has no average '{average}'", where=str(run), hint=hint)
