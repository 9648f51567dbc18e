"""`worldtune bench`: run a benchmark and print its results."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from worldtune.cli.terminal.output import echo_json
from worldtune.errors import UserError

MODULES = {
    "adapters": "adapters.adapters",
    "data": "data.data",
    "dreams": "dreams.dreams",
    "evaluate": "evaluation.evaluate",
    "fuzz": "fuzzing.fuzz",
    "registry": "registry.registry",
    "train": "training.train",
}
"""Benchmarks whose module is in a folder."""
BENCHES = {
    "pocket": "the pocket world on held-out episodes",
    "generate": "videos and generation time compared with diffusers' pipeline",
    "speed": "each optimization compared with its plain form",
    "train": "a training step's time and memory compared with diffusers' example",
    "gpu": "a GPU's memory and time compared with the plan, on the 2B with random weights",
    "evaluate": "an evaluation's time, and which synthetic corruptions its metrics detect",
    "registry": "the registry with concurrent users, kill -9, ten thousand releases and attacks",
    "adapters": "every adapter format of other tools compared with their own merge: the error, or the rejection",
    "fuzz": "5,000 seeded mutations of every kind of file that is read: tracebacks, hangs, silently wrong values",
    "everyday": "waiting times: plans, adapter show, the first line of long verbs, check",
    "dreams": "inverse dynamics, obedience to actions, the plan of dreams, and the figures of finished studies",
    "data": "dataset readers compared with the stock libraries, decoding, copied footage, encoding, store, ledger",
}


def bench(
    name: Annotated[str, typer.Argument(help="; ".join(f"{name}: {what}" for name, what in BENCHES.items()))],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on the last line.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Run a small version.")] = False,
    datasets: Annotated[
        list[Path] | None, typer.Option("--data", help="For bench data: a dataset of different demonstrations.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Folder for plots, such as docs/figures.")] = None,
) -> None:
    """Run a benchmark and print its results.

    Example:

        worldtune bench pocket --json
    """
    from worldtune.cli.terminal.figures import say
    from worldtune.cli.terminal.progress import progress
    from worldtune.core.files import make_folder
    from worldtune.core.machine import machine
    from worldtune.latents.store import default_store
    from worldtune.models.load import open_world

    if name not in BENCHES:
        raise UserError(f"unknown benchmark '{name}'", where="command line", hint=f"Use {', '.join(BENCHES)}.")
    if name not in ("pocket", "evaluate") and plot:
        raise UserError(f"bench {name} draws no plots", where="--plot", hint="Omit --plot.")
    if name != "data" and datasets:
        raise UserError(f"bench {name} reads no dataset", where="--data", hint="Omit --data.")
    if plot:
        make_folder(plot)  # before the long work
    measure = _bench(name).measure
    with progress(f"bench {name}") as advance:
        if name == "data":
            figures = measure(quick=quick, data=datasets or (), on_part=advance)
        elif name in ("pocket", "evaluate"):
            figures = measure(open_world("pocket"), default_store(), quick=quick, plot=plot, on_part=advance)
        else:
            figures = measure(quick=quick, on_part=advance)
    say(figures)
    if as_json:
        echo_json({"bench": name, "machine": machine(), "figures": figures}, indent=None)


def _bench(name: str) -> ModuleType:
    """Import a benchmark by its name from the checkout: the wheel does not contain the benchmarks."""
    checkout = Path(__file__).parents[3]
    if not (checkout / "benchmarks").is_dir():
        raise UserError(
            "the benchmarks are not part of the installed package", where="worldtune bench",
            hint="Clone the repository and run `make bench` there.",
        )  # fmt: skip
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    return import_module(f"benchmarks.{MODULES.get(name, name)}")
