"""`worldtune bases`: the catalogue of base models."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from worldtune.worlds.catalog import KNOWN_BASES, KnownBase

COLUMNS = "{:<27} {:>10} {:>9}  {:<27}  {:<20}  {}"


def bases(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the base models worldtune knows.

    An adapter is wrong without the sampling schedule and the conditional-frame timestep of its own base: the
    last two columns of the first line. The second line says where the base comes from and under which licence.

    Example:

        worldtune bases --json
    """
    if as_json:
        typer.echo(json.dumps([asdict(base) for base in KNOWN_BASES], indent=2))
        return
    typer.echo(COLUMNS.format("base", "parameters", "bf16", "pictures", "schedule", "given frames see"))
    for base in KNOWN_BASES:
        typer.echo(_row(base))
        typer.echo(f"  {_origin(base)}")


def _row(base: KnownBase) -> str:
    millions = base.parameters / 1e6
    return COLUMNS.format(
        base.name,
        f"{millions / 1000:.2f} B" if millions >= 1000 else f"{millions:.2f} M",
        f"{base.bf16_gigabytes:.1f} GB" if base.bf16_gigabytes >= 0.1 else f"{base.bf16_gigabytes * 1000:.1f} MB",
        f"{base.frames} of {base.height}×{base.width} at {base.fps} fps",
        "shift 5" if base.sigma_max is None else f"Karras {base.sigma_max:g}…{base.sigma_min:g}",
        "the same σ" if base.conditional_sigma is None else f"σ = {base.conditional_sigma:g}",
    )


def _origin(base: KnownBase) -> str:
    place = "ships with worldtune" if base.repo is None else f"{base.repo} @ {base.revision}"
    opened = "" if base.opened else " · worldtune cannot open it yet"
    return f"{place} · {base.licence} · text: {base.text_encoder}{opened}"
