"""A plan as a table: a column for each way of doing it, a row for each phase, and what it means on a card.

`told` is what --json prints: "gib" by column and phase, "petaflop" by column, and what `with_card` adds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from worldtune.errors import RecipeError
from worldtune.planning.gpus import GIB, first_that_fits

if TYPE_CHECKING:
    from worldtune.planning.gpus import Gpu
    from worldtune.training.recipe import Recipe
    from worldtune.worlds.catalog import KnownBase

ADAPTERS_KEPT = 3 * 3 + 1  # three checkpoints with both moments while one is written, and the exported adapter


def of_video(base: "KnownBase", size: Mapping[str, int | None], steps: int, guidance: int | None) -> dict[str, Any]:
    """One video of a base, under each offload."""
    from worldtune.planning.generation import plan_generation

    distilled = base.schedule.kind == "distilled"
    if distilled and guidance:
        raise RecipeError("a distilled base has its guidance within it", where=base.name, mend="Leave --guidance out.")
    guided = not distilled and guidance != 0
    frames, height, width = (_or(size[name], getattr(base, name)) for name in ("frames", "height", "width"))
    planned = plan_generation(base, frames, height, width, guidance=guided)
    operations = planned.flops * (2 if guided else 1) * base.schedule.evaluations(steps) / 1e15
    return {
        "title": f"a video of {base.name}, {frames} frames of {height}×{width}",
        "gib": {f"--offload {name}": _gib(phases) for name, phases in planned.phases.items()},
        "petaflop": {f"--offload {name}": operations for name in planned.phases},
    }


def _or(asked: int | None, own: int) -> int:
    return own if asked is None else asked


def of_training(recipe: "Recipe") -> dict[str, Any]:
    """A recipe's training, with each block's inner results kept and recomputed, after its clips were encoded."""
    from worldtune.planning.encoding import plan_encoding
    from worldtune.planning.training import plan_training
    from worldtune.training.data import refuse_unfit

    base, data, train = _known_base(recipe.base), recipe.data, recipe.train
    refuse_unfit(recipe, base)
    size = (data.frames, data.height, data.width)
    sizes = {(spec.frames, spec.height, spec.width) for spec in recipe.datasets.values()}
    plans = [plan_encoding(base, *each) for each in sorted(sizes)]
    besides = {phase: max(plan[phase] for plan in plans) for phase in plans[0]}
    columns, petaflop, its = {}, {}, 0
    for checkpointing in (False, True):
        planned = plan_training(base, recipe.adapter, train.batch, *size, checkpointing=checkpointing)
        its = planned.adapter
        phases = besides | {"train": planned.peak}
        phases["decode a preview"] += its + planned.moments  # which stay meanwhile
        if train.preview_every is None:
            del phases["decode a preview"]
        name = f"train.checkpointing={str(checkpointing).lower()}"
        columns[name], petaflop[name] = _gib(phases), planned.flops * train.steps / 1e15
    return {
        "title": f"{recipe.name}: {recipe.adapter.method} of rank {recipe.adapter.rank} on {base.name}, a batch of "
        f"{train.batch} × {data.frames} frames of {data.height}×{data.width}, {train.steps} steps",
        "gib": columns,
        "petaflop": petaflop,
        "disk_gib": ADAPTERS_KEPT * its / GIB,
    }


def _known_base(name: str) -> "KnownBase":
    """The catalogue's entry of a recipe's base. Raises BaseError when the name does not say it."""
    from worldtune.worlds.source import find_base

    return find_base(name.partition("=")[0].partition("+")[0], f"base: {name}")


def with_card(told: dict[str, Any], card: "Gpu | None", utilisation: float) -> dict[str, Any]:
    """`told` with the first column that fits the card, and the time there."""
    usable = card.usable / GIB if card else None
    speed = card.teraflops if card else None
    fits = first_that_fits(told["gib"], usable) if usable else None
    return told | {
        "gpu": card.name if card else None,
        "usable_gib": usable,
        "fits_with": fits,
        "utilisation": utilisation,
        "seconds": told["petaflop"][fits] * 1e3 / (speed * utilisation) if speed and fits else None,
    }


def say(told: dict[str, Any]) -> None:
    """Print the table and what it means."""
    columns: dict[str, dict[str, float]] = told["gib"]
    widths = {name: max(12, len(name) + 2) for name in columns}
    typer.echo(f"{told['title']}, bfloat16: GiB at most")
    typer.echo(" " * 18 + "".join(f"{name:>{widths[name]}}" for name in columns))
    for phase in next(iter(columns.values())):
        typer.echo(f"{phase:<18}" + "".join(f"{short(columns[name][phase]):>{widths[name]}}" for name in columns))
    typer.echo(
        f"{'at most':<18}" + "".join(f"{short(max(columns[name].values())):>{widths[name]}}" for name in columns)
    )
    petaflop = "".join(f"{short(told['petaflop'][name]):>{widths[name]}}" for name in columns)
    typer.echo(f"{'PFLOP of its steps':<18}{petaflop}")
    if "disk_gib" in told:
        typer.echo(f"{short(told['disk_gib'])} GiB of disk for checkpoints and adapter")
    if told["seconds"]:
        typer.echo(f"{_time(told['seconds'])} on {told['gpu']} if {told['utilisation']:.0%} of its speed are met")
    if told["fits_with"]:
        typer.echo(f"fits {told['gpu']} ({short(told['usable_gib'])} GiB usable) with {told['fits_with']}")


def short(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _gib(phases: Mapping[str, int]) -> dict[str, float]:
    return {phase: count / GIB for phase, count in phases.items()}


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{short(seconds)} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"
