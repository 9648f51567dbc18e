"""`worldtune adapter export`: other weights of a run than those that training chose."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.output import echo


def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A new adapter folder.")],
    step: Annotated[int | None, typer.Option(help="Of a checkpoint; the newest when not given.")] = None,
    average: Annotated[str | None, typer.Option(help="A moving average of train.ema, as power-6.94.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
) -> None:
    """Write the adapter of a checkpoint, or of a moving average, of a run.

    Training exports the weights with the least held-out loss; here are the others. They are proved like those.

    Example:

        worldtune adapter export runs/my-robot --step 400 --average power-6.94 -o runs/my-robot/averaged
    """
    from worldtune.adapters.inject import inject
    from worldtune.adapters.start import frozen_factors
    from worldtune.cli.progress import progress
    from worldtune.cli.training import say_adapter
    from worldtune.errors import UserError, did_you_mean
    from worldtune.training.birth import prove_born
    from worldtune.training.checkpoint import newest_step
    from worldtune.training.data import default_store, prepare_data
    from worldtune.training.export import export as export_weights
    from worldtune.training.fit import BEFORE, fit_machine, prepared
    from worldtune.training.lineage import lineage
    from worldtune.training.recipe import load_recipe
    from worldtune.training.run import RunFolder
    from worldtune.training.state import TrainingState
    from worldtune.training.team import ALONE
    from worldtune.worlds.load import open_world_on

    folder = RunFolder(run)
    recipe = load_recipe(run / "recipe.yaml", [])
    if out.exists():
        raise UserError("there is something already", where=str(out), mend="Choose another folder with --out.")
    names = recipe.train.ema.names
    if average is not None and average not in names:
        mend = did_you_mean(average, names, f"It has {', '.join(names) or 'none: train with train.ema'}.")
        raise UserError(f"the run has no average '{average}'", where=str(run), mend=mend)
    if step is None:
        step = newest_step(folder.checkpoints)
        if not step:
            raise UserError("the run has no checkpoint", where=str(run), mend="Train it first.")
    machine = recipe.machine.model_copy(update={"shard_base": False, "context": 1})
    with folder.locked():
        world = open_world_on(device, recipe.base, BEFORE)
        with progress("encode") as advance:
            data = prepare_data(world, recipe, default_store(), advance)
        parameters = inject(prepared(world, recipe.train), recipe.adapter, recipe.train.seed)
        fit_machine(world, machine, ALONE, recipe.train.batch)
        shift = world.card.shift(recipe.train.shift)
        newborn = prove_born(world, recipe.adapter, parameters, data.train, shift, mode=recipe.train.a_mode)
        state = TrainingState(parameters, recipe.train, frozen_factors(world.denoiser))
        origin = folder.same_lineage(lineage(world, recipe, data))
        card = export_weights(world, recipe, data, folder, state, newborn, origin, out, step, average)
    say_adapter(folder, out, card)
    echo(f"next: worldtune adapter diff {folder.adapter} {out}")
