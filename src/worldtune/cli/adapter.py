"""`worldtune adapter`: look into adapters, and take them from tool to tool."""

from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from worldtune.cli.exporting import export
from worldtune.cli.named_adapter import used, weighted
from worldtune.cli.output import echo, echo_json, echo_text
from worldtune.errors import AdapterError, UserError
from worldtune.registry.used import Used

if TYPE_CHECKING:
    from worldtune.adapters.formats import ForeignAdapter, Format
    from worldtune.adapters.low_rank import LowRank

Source = Annotated[
    Used, typer.Argument(parser=used, help="An adapter in any tool's format: a folder, a file, or a release.")
]
Alpha = Annotated[float | None, typer.Option(help="Where the file states no alpha: take this one.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="A new folder or .safetensors file.")]


def adapter(context: typer.Context) -> None:
    """Show, convert, merge, blend and compare adapters.

    Read and written are diffusers, PEFT, NVIDIA's checkpoints, ComfyUI and Kohya; LoRA and DoRA.

    Example:

        worldtune adapter show runs/pocket-new-view/adapter
    """
    if context.invoked_subcommand is None:
        echo_text(context.get_help())


def show(
    source: Source,
    alpha: Alpha = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an adapter is: method, rank, alpha, modules, and what its card tells.

    Example:

        worldtune adapter show pytorch_lora_weights.safetensors
    """
    from worldtune.adapters.card import CARD, read_card

    read = _read(source, alpha)
    facts = _facts(read.layers) | {"left_out": len(read.left_out)}
    has_card = source.card is not None or (source.path / CARD).is_file()
    card = read_card(source.path, source.card).model_dump(mode="json") if has_card else None
    if as_json:
        echo_json(facts | {"card": card})
        return
    for name, value in facts.items():
        echo(f"{name.replace('_', ' '):<12}{value:,}" if isinstance(value, int) else f"{name:<12}{value}")
    if card is None:
        echo("card        none: it does not say which base it is for")
        return
    proof = card["birth"]
    echo(f"base        {card['base']}  {card['base_digest'][:12]}  ({card['schedule']})")
    echo(f"trained on  {card['frames']} frames of {card['height']}×{card['width']} at {card['fps']:g} fps")
    echo(
        f"birth       loss {proof['first_loss']:.3f} → {proof['final_loss']:.3f} on its probe"
        if proof
        else "birth none"
    )


def convert(
    source: Source,
    to: Annotated[str, typer.Option(help="diffusers, peft, nvidia, comfyui or kohya.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A new folder or .safetensors file.")] = None,
    alpha: Alpha = None,
    base: Annotated[str | None, typer.Option(help="The base it is for: diffusers' folder then has a card.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be written and left out.")] = False,
) -> None:
    """Write an adapter in another tool's format.

    Every tensor of the source is used, or named with the reason why it is left out. With --base the result is an
    adapter folder that worldtune itself loads.

    Example:

        worldtune adapter convert runs/pocket-new-view/adapter --to comfyui -o my_robot.safetensors
    """
    from worldtune.adapters.exchange import write_layers
    from worldtune.adapters.formats import ignored_by, name_layers

    _check_format(to)
    if base and to != "diffusers":
        raise UserError("only diffusers' folder has a card", where="--base", mend="Leave --base out.")
    read, style = _read(source, alpha), cast("Format", to)
    for reason in dict.fromkeys(read.left_out.values()):
        names = [name for name, why in read.left_out.items() if why == reason]
        echo(f"left out: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({reason})")
    names = list(name_layers(read.layers, style))
    for note in _notes(read.layers, style):
        echo(f"note: {note}")
    if dry_run:
        echo(f"{len(names)} tensors would be written, first: {names[0]}")
        for name in ignored_by(style, names):
            echo(f"ignored by {style}: {name}")
        return
    if out is None:
        raise UserError("where to is not said", where="--out", mend="Give -o, or --dry-run.")
    if base:
        _write_with_card(read, source.path, base, out)
    else:
        write_layers(read.layers, style, out)
    echo(out)


def merge(
    base: Annotated[str, typer.Argument(help="A base by name, diffusers' folder, or NVIDIA's file of the denoiser.")],
    adapters: Annotated[list[str], typer.Argument(help="ADAPTER or ADAPTER=STRENGTH, one after the other.")],
    out: Out,
    alpha: Alpha = None,
) -> None:
    """Write a base's denoiser with adapters in it, rounded once; the base's own files stay as they are.

    A strength goes in a straight line from the base (0) to the adapter (1), for DoRA too.

    Example:

        worldtune adapter merge models/cosmos runs/a/adapter=0.8 -o merged
    """
    from worldtune.adapters.exchange import merge as write
    from worldtune.worlds.source import denoiser_of

    _refuse_other_base(adapters, base)
    changed = write(denoiser_of(base), [_weighted(text, alpha) for text in adapters], out)
    echo(f"{changed} weights changed: {out}")


def blend(
    adapters: Annotated[list[str], typer.Argument(help="ADAPTER or ADAPTER=WEIGHT, two or more.")],
    out: Out,
    to: Annotated[str, typer.Option(help="diffusers, peft, nvidia, comfyui or kohya.")] = "diffusers",
    rank: Annotated[int | None, typer.Option(min=1, help="Reduce to this rank; exact when not given.")] = None,
    alpha: Alpha = None,
) -> None:
    """Make one LoRA of the weighted sum of several.

    Exact when no --rank is given: the ranks stand side by side. DoRA is refused, as its magnitudes do not add up.

    Example:

        worldtune adapter blend runs/a/adapter=0.7 runs/b/adapter=0.3 -o both
    """
    from worldtune.adapters.exchange import blend as add
    from worldtune.adapters.exchange import write_layers

    _check_format(to)
    _refuse_other_base(adapters, None)
    layers, kept = add([_weighted(text, alpha) for text in adapters], rank)
    write_layers(layers, cast("Format", to), out)
    echo(f"rank {max(layer.rank for layer in layers.values())}, {kept:.2%} of the energy kept: {out}")


def extract(
    full: Annotated[Path, typer.Argument(help="The fully fine-tuned denoiser.")],
    base: Annotated[str, typer.Argument(help="The denoiser it was tuned from, or a base by name.")],
    out: Out,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the LoRA.")] = 32,
    to: Annotated[str, typer.Option(help="diffusers, peft, nvidia, comfyui or kohya.")] = "diffusers",
) -> None:
    """Take a LoRA out of a fully fine-tuned model, by the singular values of what changed.

    Example:

        worldtune adapter extract tuned.safetensors models/cosmos --rank 32 -o lora
    """
    from worldtune.adapters.exchange import extract as take
    from worldtune.adapters.exchange import read_denoiser, write_layers
    from worldtune.adapters.spec import TARGETS
    from worldtune.worlds.source import denoiser_of

    _check_format(to)
    done = take(read_denoiser(full), read_denoiser(denoiser_of(base)), TARGETS["attention+mlp"], rank)
    write_layers(done.layers, cast("Format", to), out)
    echo(f"rank {rank} keeps {done.kept_energy:.2%} of the energy of what changed: {out}")
    if done.touched:
        echo(f"not in it: {len(done.touched)} other changed tensors, first: {done.touched[0]}")


def diff(first: Source, second: Source, alpha: Alpha = None) -> None:
    """Say how far two adapters' changes are from each other, largest first.

    Example:

        worldtune adapter diff runs/a/adapter runs/b/adapter
    """
    from worldtune.adapters.exchange import diff as compare

    done = compare(_read(first, alpha).layers, _read(second, alpha).layers)
    for module, distance in sorted(done.distance.items(), key=lambda pair: -pair[1])[:10]:
        echo(f"{distance:8.4f}  {module}")
    mean = sum(done.distance.values()) / len(done.distance) if done.distance else 0.0
    echo(f"{mean:8.4f}  mean of {len(done.distance)} modules: ‖Δ₁ − Δ₂‖ / ‖Δ₁‖")
    for side, names in (("first", done.only_first), ("second", done.only_second)):
        if names:
            echo(f"only in the {side}: {len(names)} modules, {names[0]} …")


PARTS = {
    "show": show, "convert": convert, "merge": merge, "blend": blend, "extract": extract, "diff": diff,
    "export": export,
}  # fmt: skip


def _read(source: Used, alpha: float | None) -> "ForeignAdapter":
    from worldtune.adapters.folder import read_any_layers

    return read_any_layers(source.path, alpha, source.card)


def _check_format(to: str) -> None:
    from worldtune.adapters.formats import Format

    if to not in get_args(Format):
        raise UserError(f"there is no format '{to}'", where="--to", mend=f"One of: {', '.join(get_args(Format))}.")


def _refuse_other_base(adapters: list[str], base: str | None) -> None:
    """Raises AdapterError when cards name different bases, or another than `base`, where that is a whole one."""
    from worldtune.adapters.card import CARD, read_card
    from worldtune.worlds.load import open_world

    paths = [used(weighted(text)[0]).path for text in adapters]
    cards = [(path, read_card(path)) for path in paths if (path / CARD).is_file()]
    whole = base is not None and (not Path(base).exists() or (Path(base) / "model_index.json").is_file())
    if cards and base is not None and not whole:
        echo(f"note: a denoiser alone does not say whether it is {cards[0][1].base}, which the card names", err=True)
    expected = open_world(base).card.digest if cards and whole and base else None
    for path, card in cards:
        expected = expected or card.base_digest
        if card.base_digest != expected:
            what = f"it was made for {card.base} {card.base_digest[:12]}, not {expected[:12]}"
            raise AdapterError(what, where=str(path), mend="Take adapters of this base.")


def _weighted(text: str, alpha: float | None) -> "tuple[dict[str, LowRank], float]":
    path, number = weighted(text)
    if number is None:
        return _read(used(path), alpha).layers, 1.0
    try:
        strength = float(number)
    except ValueError:
        strength = nan
    if not isfinite(strength):
        raise UserError(f"'{number}' is no number", where=text, mend="Write ADAPTER=0.8.")
    return _read(used(path), alpha).layers, strength


def _facts(layers: "dict[str, LowRank]") -> dict[str, Any]:
    ranks = sorted({layer.rank for layer in layers.values()})
    return {
        "method": "DoRA" if any(layer.magnitude_O is not None for layer in layers.values()) else "LoRA",
        "rank": "/".join(map(str, ranks)),
        "alpha": "/".join(f"{alpha:g}" for alpha in sorted({layer.alpha for layer in layers.values()})),
        "modules": len(layers),
        "parameters": sum(
            layer.a_RI.numel() + layer.b_OR.numel() + (0 if layer.magnitude_O is None else layer.magnitude_O.numel())
            for layer in layers.values()
        ),
    }


def _notes(layers: "dict[str, LowRank]", to: "Format") -> list[str]:
    """What the target tool makes of it."""
    notes = []
    if to == "nvidia" and any(layer.scale != 1 for layer in layers.values()):
        notes.append("NVIDIA's names have no alpha: it is worked into B, train and load with alpha = rank")
    if to == "nvidia" and any(layer.magnitude_O is not None for layer in layers.values()):
        notes.append("Predict 2.5 before its use_dora option ignores lora_magnitude_vector: the DoRA would be a LoRA")
    if to == "kohya" and any(layer.magnitude_O is not None for layer in layers.values()):
        notes.append("sd-scripts ignores dora_scale: the DoRA would be a LoRA")
    return notes


def _write_with_card(read: "ForeignAdapter", source: Path, base: str, out: Path) -> None:
    from worldtune.adapters.imported import save_imported
    from worldtune.worlds.load import open_world

    world = open_world(base)
    card, modules = world.card, dict(world.denoiser.named_modules())
    for name, layer in read.layers.items():
        weight = getattr(modules.get(name), "weight", None)
        if weight is None or weight.shape != (layer.b_OR.shape[0], layer.a_RI.shape[1]):
            what = f"{name} of the adapter fits no weight of {card.name}"
            raise AdapterError(what, where=str(source), mend="Name the base that it was made for.")
    save_imported(out, read.layers, source, vars(card) | {"conditional_sigma": card.schedule.conditional_sigma})
