"""`worldtune bases`: the catalogue; `bases verify`: proof of a base; `bases convert`: NVIDIA's and diffusers' names."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from worldtune.cli.output import echo, echo_json
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
        echo_json([asdict(base) for base in KNOWN_BASES])
        return
    echo(COLUMNS.format("base", "parameters", "bf16", "pictures", "schedule", "given frames see"))
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
    return f"{place} · {base.licence} · text: {base.text_encoder}"


def convert(
    source: Annotated[
        str, typer.Argument(help="NVIDIA's .pt, .safetensors or DCP folder, a diffusers folder, or a base by name.")
    ],
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
    from worldtune.tensor_names import Style
    from worldtune.worlds.convert import convert as write
    from worldtune.worlds.source import denoiser_of

    if to not in get_args(Style):
        raise UserError(f"there is no style '{to}'", where="--to", mend="One of: diffusers, nvidia.")
    done = write(denoiser_of(source), cast(Style, to), out, config)
    known = ", ".join(done.bases) or "no known base"
    echo(f"{done.tensors} tensors, {done.parameters:,} parameters: the architecture of {known}")
    for reason in dict.fromkeys(done.dropped.values()):
        names = [name for name, why in done.dropped.items() if why == reason]
        echo(f"left out: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({reason})")
    echo(out)


def verify(
    base: Annotated[str, typer.Argument(help="A name of `worldtune bases`, a folder or owner/repo@revision.")],
    clips: Annotated[str | None, typer.Option(help="Videos of its kind, whose first loss is measured.")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="A camera to use; may be given again.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many clips.")] = 4,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove that a base is what it is called: every tensor accounted for, and a first loss inside its band.

    Without clips, names and shapes are proved, not values: a training's first loss is about 0.03 with a real base's
    weights and about 3 without them. Write predict2.5-2b/pre-trained=FOLDER for a folder that does not say how it
    was trained, and BASE+model.pt for a base with another denoiser.

    Example:

        worldtune bases verify pocket --clips builtin:pocket-base-held-out
    """
    from worldtune.episodes.dataset import open_dataset
    from worldtune.episodes.spec import DataSpec
    from worldtune.training.data import default_store
    from worldtune.training.verification import verify as prove
    from worldtune.worlds.load import open_world_on

    world = open_world_on(device, base)
    card = world.card
    chosen = []
    if clips:
        size = {"frames": card.frames, "fps": card.fps, "height": card.height, "width": card.width}
        chosen = open_dataset(DataSpec(path=clips, cameras=camera, **size)).clips[:count]
    done = prove(world, chosen, default_store())
    if as_json:
        echo_json({"base": asdict(card), **asdict(done)})
        return
    echo(f"{card.name}, trained as {card.trained_as}{f', commit {card.revision}' if card.revision else ''}")
    for part, parameters in done.parameters.items():
        echo(f"  {part:<13}{parameters:>15,} parameters in {done.tensors[part]:,} tensors, all from its files")
    echo(f"  digest       {card.digest}")
    band = "{:g} … {:g}".format(*card.first_loss)
    if done.first_loss is None:
        echo(f"  first loss   not measured (should lie in {band}): give --clips")
    else:
        echo(f"  first loss   {done.first_loss:.4f} on {len(chosen)} clips, inside {band}")


PARTS = {"verify": verify, "convert": convert}
