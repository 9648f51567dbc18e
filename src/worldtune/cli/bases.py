"""`worldtune bases`: the catalogue of base models; `bases convert`: NVIDIA's checkpoints and diffusers' folders."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from worldtune.errors import UserError
from worldtune.worlds.catalog import KNOWN_BASES, KnownBase

COLUMNS = "{:<27} {:>10} {:>9}  {:<27}  {:<20}  {}"


def bases(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the base models worldtune knows.

    An adapter is wrong without the sampling schedule and the conditional-frame timestep of its own base: the
    last two columns of the first line. The second line says where the base comes from and under which licence.

    Example:

        worldtune bases --json
    """
    if context.invoked_subcommand:
        return
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


def convert(
    source: Annotated[Path, typer.Argument(help="NVIDIA's .pt, .safetensors or DCP folder, or a diffusers folder.")],
    to: Annotated[str, typer.Option(help="diffusers or nvidia.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A new folder for diffusers, a new file for nvidia.")],
    config: Annotated[Path | None, typer.Option(help="config.json of a transformer that is no known base's.")] = None,
) -> None:
    """Convert a denoiser between NVIDIA's names and diffusers', bit for bit.

    Every tensor is accounted for: used, or named with the reason why it is left out. The architecture is that of
    the known base with exactly these tensors, unless --config states it.

    Example:

        worldtune bases convert model_ema_bf16.pt --to diffusers -o transformer
    """
    from worldtune.worlds.convert import convert as write
    from worldtune.worlds.keys import Style

    if to not in get_args(Style):
        raise UserError(f"there is no style '{to}'", where="--to", mend="One of: diffusers, nvidia.")
    done = write(source, cast(Style, to), out, config)
    known = ", ".join(done.bases) or "no known base"
    typer.echo(f"{done.tensors} tensors, {done.parameters:,} parameters: the architecture of {known}")
    for reason in dict.fromkeys(done.dropped.values()):
        names = [name for name, why in done.dropped.items() if why == reason]
        typer.echo(f"left out: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({reason})")
    typer.echo(out)


PARTS = {"convert": convert}
