"""`worldtune train`: train an adapter from a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worldtune.cli.terminal.output import echo, say_first
from worldtune.errors import UserError

if TYPE_CHECKING:
    from worldtune.training.recipe import Recipe

AUTO = "auto"  # the word after --resume; an override would have an "="


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `worldtune recipes`) or its YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, such as train.steps=500")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder (default: runs/<recipe name>).")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue from the newest checkpoint; `--resume auto` starts a new run if there is none."
        ),
    ] = False,
    allow_change: Annotated[
        bool, typer.Option("--allow-change", help="Resume even if the recipe or the datasets changed.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Train one run for each combination: --grid adapter.rank=8,32 adapter.method=lora,dora"),
    ] = None,
    launch: Annotated[
        Literal["slurm", "skypilot", "kubernetes"] | None, typer.Option(help="Submit the run to a cluster.")
    ] = None,
    nodes: Annotated[int, typer.Option(help="With --launch: number of machines.")] = 1,
    gpus: Annotated[int | None, typer.Option(help="With --launch: GPUs of each machine.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="SkyPilot's name of the GPU, such as H100.")] = None,
    image: Annotated[str | None, typer.Option(help="With --launch: a container image with worldtune.")] = None,
    volume: Annotated[str | None, typer.Option(help="With --launch: a volume that all machines share.")] = None,
    render: Annotated[bool, typer.Option("--render", help="Only print the job's file.")] = False,
) -> None:
    """Train an adapter from a recipe.

    Clips and prompts are encoded once, at the start; during training only the denoiser is in memory. A run that fails
    the preflight check before step 1 stops. Metrics, checkpoints, previews (with train.preview_every) and the adapter
    are in the run folder. For several GPUs: torchrun --nproc-per-node 8 --no-python worldtune train …

    Example:

        worldtune train pocket-new-view train.steps=200 --out runs/first
    """
    if not launch:
        say_first("train: reading the recipe")
    import worldtune
    from worldtune.cli.terminal.progress import bars
    from worldtune.cli.training.launch import launch as submit_or_print
    from worldtune.cli.training.printing import is_main_process, say_run, start_printer
    from worldtune.cli.training.sweep import say_grid
    from worldtune.evaluation.grid import compare_grid, grid_of
    from worldtune.training.launch.render import Cluster
    from worldtune.training.tracking.trackers import check_trackers

    auto = resume and AUTO in (overrides or [])
    recipe_overrides = [override for override in overrides or [] if not (auto and override == AUTO)]
    loaded = worldtune.load_recipe(recipe, recipe_overrides)
    check_trackers(loaded.track)
    out = out or Path("runs") / loaded.name
    launch_options = {"gpus": gpus, "accelerator": accelerator, "image": image, "volume": volume}
    _check_launch_options(launch_options | {"render": render or None, "nodes": nodes if nodes != 1 else None}, launch)
    cluster = Cluster(launch, nodes, gpus or 0, accelerator, image, volume) if launch else None

    def load(more: list[str]) -> "Recipe":
        return worldtune.load_recipe(recipe, [*recipe_overrides, *more])

    def train_or_launch(more: list[str], folder: Path) -> None:
        run_recipe = load(more)
        if cluster:
            from worldtune.training.apply_machine_config import check_processes

            check_processes(run_recipe.machine, run_recipe.train.batch, cluster.nodes * cluster.gpus)
            submit_or_print(cluster, recipe, [*recipe_overrides, *more], folder, only_render=render)
            return
        with bars(shown=is_main_process()) as shown:
            run = worldtune.train(
                run_recipe,
                folder,
                resume="auto" if auto or grid else resume,
                allow_change=allow_change,
                device=device,
                progress=shown,
                on_start=start_printer(shown, run_recipe, folder.name),
            )
        if is_main_process():
            say_run(run)

    if not grid:
        train_or_launch([], out)
        return
    runs = grid_of(grid, loaded.name)
    for more in runs.values():
        load(more)  # check all before training the first
    for label, more in runs.items():
        if is_main_process():
            echo(f"— {label}")
        train_or_launch(more, out / label)
    if is_main_process() and not cluster:
        say_grid(compare_grid(list(runs), out), list(runs), out)


def _check_launch_options(options: Mapping[str, object], launch: str | None) -> None:
    """Raise UserError for options of --launch without it, or for --launch without --gpus."""
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given and not launch:
        hint = "Add --launch slurm, skypilot or kubernetes; for the GPUs of this machine use torchrun --nproc-per-node."
        raise UserError("this option needs --launch", where=", ".join(given), hint=hint)
    if launch and "--gpus" not in given:
        raise UserError("the number of GPUs per machine is missing", where=f"--launch {launch}", hint="Add --gpus.")
