"""`worldtune train`: an adapter from a recipe."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `worldtune recipes`) or its YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, as train.steps=500")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/<recipe name> when not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint of this run.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
) -> None:
    """Train an adapter from a recipe.

    Clips and prompts are encoded first, once; then the denoiser is alone in memory. Before step 1 the birth
    proof is taken, and a run that fails it stops. Metrics, checkpoints, previews (where train.preview_every asks for
    them) and the adapter are in the run folder.

    Example:

        worldtune train pocket-new-view train.steps=200 --out runs/first
    """
    from worldtune.cli.recipes import find_recipe
    from worldtune.cli.training import train_run
    from worldtune.training.run import RunFolder
    from worldtune.worlds.load import open_world_on

    loaded = find_recipe(recipe, overrides or [])
    run = RunFolder(out or Path("runs") / loaded.name)
    card = train_run(open_world_on(device, loaded.base), loaded, run, resume=resume)
    typer.echo(f"adapter  {run.adapter}  ({card.weights_digest[:12]})")
    losses = [row["held_out_loss"] for row in run.rows() if "held_out_loss" in row]
    if not losses:
        typer.echo("held-out loss not measured: nothing is held out (data.held_out), so nothing is proved yet")
    else:
        typer.echo(f"held-out loss  {losses[0]:.3f} → {losses[-1]:.3f}")
        if losses[-1] >= losses[0]:
            typer.echo("  NOT BETTER than the base on clips it has not seen: do not use this adapter", err=True)
        typer.echo(f"next: worldtune evaluate {run.path}")
