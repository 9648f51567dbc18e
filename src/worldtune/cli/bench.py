"""`worldtune bench`: figures, measured now."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.output import echo_json

BENCHES = {
    "pocket": "the pocket world on held-out episodes",
    "generate": "our videos and their time against diffusers' pipeline",
    "speed": "each optimisation against its plain form",
    "train": "a training step's time and memory against diffusers' example",
    "gpu": "a GPU's memory and time against what was planned, on the 2B with weights drawn at random",
    "evaluate": "an evaluation's time, and what its metrics make of planted faults",
    "registry": "the registry under a crowd, kill -9, ten thousand releases and attacks",
    "fuzz": "5,000 seeded mutations of every kind of file that is read: tracebacks, hangs, other values in silence",
    "data": "decoding against diffusers' example, encoding, the store and the ledger",
}


def bench(
    name: Annotated[str, typer.Argument(help="; ".join(f"{name}: {what}" for name, what in BENCHES.items()))],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on the last line.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A small version: does it run?")] = False,
    plot: Annotated[Path | None, typer.Option(help="Folder for plots, as docs/figures.")] = None,
) -> None:
    """Measure a part of worldtune and print its figures.

    Example:

        worldtune bench pocket --json
    """
    from worldtune.bench import data, evaluate, fuzz, generate, gpu, pocket, registry, speed, train
    from worldtune.bench.machine import machine
    from worldtune.cli.figures import say
    from worldtune.cli.progress import progress
    from worldtune.errors import UserError
    from worldtune.files import make_folder
    from worldtune.training.data import default_store
    from worldtune.worlds.load import open_world

    if name not in BENCHES:
        raise UserError(f"there is no bench '{name}'", where="command line", mend=f"One of: {', '.join(BENCHES)}.")
    if name not in ("pocket", "evaluate") and plot:
        raise UserError(f"bench {name} draws nothing", where="--plot", mend="Leave --plot out.")
    if plot:
        make_folder(plot)  # before the long work
    if name == "speed":
        figures = speed.measure("pocket", quick=quick)
    elif name in ("generate", "train", "data", "registry", "gpu", "fuzz"):
        parts = {"generate": generate, "train": train, "data": data, "registry": registry, "gpu": gpu, "fuzz": fuzz}
        measured = parts[name]
        with progress(f"bench {name}") as advance:
            figures = measured.measure(quick=quick, on_part=advance)
    elif name == "evaluate":
        with progress(f"bench {name}") as advance:
            figures = evaluate.measure(open_world("pocket"), default_store(), quick=quick, plot=plot, on_part=advance)
    else:
        with progress(f"bench {name}") as advance:
            figures = pocket.measure(open_world("pocket"), default_store(), quick=quick, plot=plot, on_clip=advance)
    say(figures)
    if as_json:
        echo_json({"bench": name, "machine": machine(), "figures": figures}, indent=None)
