"""`worldtune train`: an adapter from a recipe."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worldtune.cli.output import echo
from worldtune.errors import UserError

if TYPE_CHECKING:
    from worldtune.training.recipe import Recipe

AUTO = "auto"  # the word after --resume: no override, which would have an "="


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `worldtune recipes`) or its YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, as train.steps=500")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/<recipe name> when not given.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint; `--resume auto` starts where none is.")
    ] = False,
    allow_change: Annotated[
        bool, typer.Option("--allow-change", help="Resume though the recipe or the datasets are others now.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
    grid: Annotated[
        list[str] | None, typer.Option(help="A run for each: --grid adapter.rank=8,32 adapter.method=lora,dora")
    ] = None,
    launch: Annotated[
        Literal["slurm", "skypilot", "kubernetes"] | None, typer.Option(help="Give the run to a cluster.")
    ] = None,
    nodes: Annotated[int, typer.Option(help="Machines, with --launch.")] = 1,
    gpus: Annotated[int | None, typer.Option(help="GPUs of each machine, with --launch.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="SkyPilot's name of the GPU, as H100.")] = None,
    image: Annotated[str | None, typer.Option(help="A container image with worldtune in it, with --launch.")] = None,
    volume: Annotated[str | None, typer.Option(help="A volume that all machines share, with --launch.")] = None,
    render: Annotated[bool, typer.Option("--render", help="Print the job's file instead, and start nothing.")] = False,
) -> None:
    """Train an adapter from a recipe.

    Clips and prompts are encoded first, once; then the denoiser is alone in memory. Before step 1 the birth
    proof is taken, and a run that fails it stops. Metrics, checkpoints, previews (where train.preview_every asks for
    them) and the adapter are in the run folder. Several GPUs: torchrun --nproc-per-node 8 --no-python worldtune train …

    Example:

        worldtune train pocket-new-view train.steps=200 --out runs/first
    """
    from worldtune.cli.launch import launch as hand_over
    from worldtune.cli.recipes import find_recipe
    from worldtune.cli.sweep import sweep
    from worldtune.training.fit import refuse_processes
    from worldtune.training.launch import Cluster
    from worldtune.training.trackers import check_trackers

    auto = resume and AUTO in (overrides or [])
    asked = [override for override in overrides or [] if not (auto and override == AUTO)]
    loaded = find_recipe(recipe, asked)
    check_trackers(loaded.track)
    out = out or Path("runs") / loaded.name
    of_launch = {"gpus": gpus, "accelerator": accelerator, "image": image, "volume": volume, "render": render or None}
    _refuse_useless(of_launch | {"nodes": nodes if nodes != 1 else None}, launch)
    cluster = Cluster(launch, nodes, gpus or 0, accelerator, image, volume) if launch else None

    def resolved(more: list[str]) -> "Recipe":
        return find_recipe(recipe, [*asked, *more])

    def one(more: list[str], folder: Path, *, again: bool) -> None:
        its = resolved(more)
        if cluster:
            refuse_processes(its.machine, its.train.batch, cluster.nodes * cluster.gpus)
            hand_over(cluster, recipe, [*asked, *more], folder, only_render=render)
        else:
            _train_here(its, folder, device, again, auto or bool(grid), allow_change)

    if grid:
        leads = os.environ.get("RANK", "0") == "0"
        sweep(grid, loaded.name, out, resolved, one, elsewhere=bool(cluster), leads=leads)
    else:
        one([], out, again=resume)


def _refuse_useless(options: Mapping[str, object], launch: str | None) -> None:
    """Raises UserError for options of --launch without it, and for it without --gpus."""
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given and not launch:
        mend = "Add --launch slurm, skypilot or kubernetes; GPUs of this machine: torchrun --nproc-per-node."
        raise UserError("only a launched run has these", where=", ".join(given), mend=mend)
    if launch and "--gpus" not in given:
        raise UserError("how many GPUs has a machine?", where=f"--launch {launch}", mend="Add --gpus.")


def _train_here(
    recipe: "Recipe", folder: Path, device: str | None, resume: bool, auto: bool, allow_change: bool
) -> None:
    from worldtune.cli.training import say_adapter, train_run
    from worldtune.episodes.sources import open_source
    from worldtune.training.fit import BEFORE, refuse_processes
    from worldtune.training.run import RunFolder
    from worldtune.training.team import join_team, own_device
    from worldtune.worlds.load import open_world_on

    team = join_team(recipe.machine.context)
    refuse_processes(recipe.machine, recipe.train.batch, team.size)
    run = RunFolder(folder, leads=team.leads)
    if not auto:  # before a base is read
        run.must_exist() if resume else run.must_be_new()
    for data in recipe.datasets.values():
        open_source(data.path)  # a folder that is not there is told before a base is downloaded
    world = open_world_on(own_device(device), recipe.base, BEFORE)
    resume = bool(team.follow(run.begun)) if auto else resume
    card = train_run(world, recipe, run, resume=resume, allow_change=allow_change, team=team)
    if not team.leads:
        return
    last = max(row["step"] for row in run.rows())
    if last < recipe.train.steps:
        told = f"{recipe.check.patience} validations in a row were no better (validate.patience)"
        echo(f"stopped after step {last} of {recipe.train.steps}: {told}")
    if birth := card.birth:
        echo(
            f"proved   {birth.base_tensors:,} base tensors loaded, {birth.wrapped_modules} layers adapted, "
            f"{birth.reached_tensors} tensors trained, first loss {birth.first_loss:.3f}, at first no change"
        )
    say_adapter(run, run.adapter, card)
    echo(f"next: worldtune evaluate {run.path}")
