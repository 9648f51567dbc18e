"""`worldtune bases`: list known bases, verify a base, convert a denoiser between NVIDIA's and diffusers' names."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from worldtune.cli.terminal.output import echo, echo_json
from worldtune.errors import UserError
from worldtune.models.catalog import KNOWN_BASES, KnownBase

COLUMNS = "{:<27} {:>10} {:>9}  {:<27}  {:<20}  {}"


def bases(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the base models worldtune knows.

    The last two columns of the first line are the sampling schedule and the noise level of conditioning frames; an
    adapter needs those of its base. The second line gives the base's source and license.

    Example:

        worldtune bases --json
    """
    if context.invoked_subcommand:
        return
    if as_json:
        echo_json([asdict(base) for base in KNOWN_BASES])
        return
    echo(COLUMNS.format("base", "parameters", "bf16", "frames", "schedule", "conditioning frames"))
    for base in KNOWN_BASES:
        echo(_row(base))
        echo(f"  {_origin(base)}")


def _row(base: KnownBase) -> str:
    millions = base.parameters / 1e6
    sigmas = f"{base.schedule.sigma_max:g}…{base.schedule.sigma_min:g}" if base.schedule.sigma_max else ""
    return COLUMNS.format(
        base.name,
        f"{millions / 1000:.2f} B" if millions >= 1000 else f"{millions:.2f} M",
        f"{base.bf16_gigabytes:.1f} GB" if base.bf16_gigabytes >= 0.1 else f"{base.bf16_gigabytes * 1000:.1f} MB",
        f"{base.frames} of {base.height}×{base.width} at {base.fps} fps",
        {"karras": f"Karras {sigmas}", "shift5": "shift 5", "distilled": "4 distilled levels", "edm": f"EDM {sigmas}"}[
            base.schedule.kind
        ],
        "the same σ" if base.schedule.conditional_sigma is None else f"σ = {base.schedule.conditional_sigma:.2g}",
    )


def _origin(base: KnownBase) -> str:
    place = "ships with worldtune" if base.repo is None else f"{base.repo} @ {base.revision}"
    return f"{place} · {base.license} · text: {base.text_encoder}"


def convert(
    source: Annotated[
        str, typer.Argument(help="NVIDIA's .pt, .safetensors or DCP folder, a diffusers folder, or a base's name.")
    ],
    to: Annotated[str, typer.Option(help="diffusers or nvidia.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A new folder for diffusers, a new file for nvidia.")],
    config: Annotated[Path | None, typer.Option(help="config.json of a transformer that is not a known base.")] = None,
) -> None:
    """Convert a denoiser between NVIDIA's names and diffusers', bit for bit.

    Every tensor is used, or named with the reason why it is left out. The architecture is taken from --config, or
    from the known base with exactly these tensors.

    Example:

        worldtune bases convert model_ema_bf16.pt --to diffusers -o transformer
    """
    from worldtune.core.tensors.names import Style
    from worldtune.models.convert import convert as write
    from worldtune.models.resolve_base import denoiser_of

    if to not in get_args(Style):
        raise UserError(f"unknown naming style '{to}'", where="--to", hint="Use diffusers or nvidia.")
    done = write(denoiser_of(source), cast(Style, to), out, config)
    known = ", ".join(done.bases) or "no known base"
    echo(f"{done.tensors} tensors, {done.parameters:,} parameters: the architecture of {known}")
    for reason in dict.fromkeys(done.dropped.values()):
        names = [name for name, why in done.dropped.items() if why == reason]
        echo(f"left out: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({reason})")
    echo(out)


def verify(
    base: Annotated[str, typer.Argument(help="A name from `worldtune bases`, a folder, or owner/repo@revision.")],
    clips: Annotated[str | None, typer.Option(help="Clips of the base's domain, to measure its first loss.")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="A camera to use; repeatable.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many clips.")] = 4,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify a base: no tensor is missing or unknown, and the first loss is in the expected range.

    Without clips only names and shapes are verified, not values. The first loss needs clips: it is about 0.03 with a
    real base's weights and about 3 without them. Write predict2.5-2b/pre-trained=FOLDER for a folder that does not
    state how it was trained, and BASE+model.pt for a base with another denoiser.

    Example:

        worldtune bases verify pocket --clips builtin:pocket-base-held-out
    """
    from worldtune.training.checks.verify_base_model import verify_base

    verified = verify_base(base, clips, cameras=camera, count=count, device=device)
    card, done = verified.card, verified.found
    if as_json:
        echo_json({"base": asdict(card), **asdict(done)})
        return
    echo(f"{card.name}, trained as {card.trained_as}{f', commit {card.revision}' if card.revision else ''}")
    for part, parameters in done.parameters.items():
        echo(f"  {part:<13}{parameters:>15,} parameters in {done.tensors[part]:,} tensors, all from its files")
    echo(f"  digest       {card.digest}")
    band = "{:g} … {:g}".format(*card.first_loss)
    if done.first_loss is None:
        echo(f"  first loss   not measured (expected: {band}): give --clips")
    else:
        echo(f"  first loss   {done.first_loss:.4f} on {verified.clips} clips, inside {band}")


PARTS = {"verify": verify, "convert": convert}
