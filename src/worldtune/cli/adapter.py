"""`worldtune adapter`: inspect adapters and convert them between tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.adapters.used import Used
from worldtune.cli.adapters.alphas import AlphaOption, read_alphas
from worldtune.cli.adapters.exporting import export
from worldtune.cli.adapters.named_adapter import say_rest, weighted
from worldtune.cli.terminal.output import echo, echo_json, echo_text
from worldtune.errors import UserError
from worldtune.registry.named_adapter import locate_adapter

if TYPE_CHECKING:
    from worldtune.adapters.layers.low_rank import LowRank

Source = Annotated[
    Used, typer.Argument(parser=locate_adapter, help="An adapter in any tool's format: a folder, a file, or a release.")
]
Out = Annotated[Path, typer.Option("-o", "--out", help="A new folder or .safetensors file.")]


def adapter(context: typer.Context) -> None:
    """Show, convert, merge, blend and compare adapters.

    Reads and writes LoRA and DoRA in the formats of diffusers, PEFT, NVIDIA's checkpoints, ComfyUI and Kohya (LyCORIS).
    Other kinds of adapters, such as LoKr, are rejected by name.

    Example:

        worldtune adapter show runs/pocket-new-view/adapter
    """
    if context.invoked_subcommand is None:
        echo_text(context.get_help())


def show(
    source: Source,
    alpha: AlphaOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show an adapter's method, rank, alpha and modules, and its card.

    Example:

        worldtune adapter show pytorch_lora_weights.safetensors
    """
    from worldtune.adapters.card import CARD, read_card
    from worldtune.adapters.checkpoint import read_any_layers
    from worldtune.adapters.layers.low_rank import is_zero

    alphas = read_alphas(alpha)
    alphas.check([source.path])
    read = read_any_layers(source.path, alphas.of(source.path), source.card, stored=True)
    left_out = [*read.left_out, *read.other_weights]
    facts = _facts(read.layers) | {"left_out": len(left_out)} | ({"in_full": len(read.trained)} if read.trained else {})
    zero = is_zero(read.layers)
    has_card = source.card is not None or (source.path / CARD).is_file()
    card = read_card(source.path, source.card) if has_card else None
    if as_json:
        listed = {"left_out_tensors": left_out, "trained_in_full": list(read.trained), "notes": list(read.notes)}
        echo_json(facts | listed | {"b_is_zero": zero, "card": card and card.model_dump(mode="json")})
        return
    for name, value in facts.items():
        echo(f"{name.replace('_', ' '):<12}{value:,}" if isinstance(value, int) else f"{name:<12}{value}")
    say_rest(read)
    if zero:
        echo("note: B is zero everywhere, as before training, so only a DoRA's magnitudes can change the output")
    if card is None:
        echo("card        none: the adapter does not state its base")
        return
    proof = card.preflight
    echo(f"base        {card.base}  {card.base_digest[:12]}  ({card.schedule})")
    echo(f"trained on  {card.trained_on}")
    losses = f"loss {proof.first_loss:.3f} → {proof.final_loss:.3f} on the check's clips" if proof else "unknown"
    echo(f"preflight   {losses}")


def convert(
    source: Source,
    to: Annotated[str, typer.Option(help="diffusers, peft, nvidia, comfyui or kohya.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A new folder or .safetensors file.")] = None,
    alpha: AlphaOption = None,
    base: Annotated[str | None, typer.Option(help="The adapter's base: adds a card to diffusers' folder.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be written and left out.")] = False,
) -> None:
    """Write an adapter in another tool's format.

    Every tensor of the source is used, or named with the reason why it is left out. With --base the adapter is tried
    on that base first: it must fit, and its effect is printed. The result is an adapter folder that worldtune loads.

    Example:

        worldtune adapter convert runs/pocket-new-view/adapter --to comfyui -o my_robot.safetensors
    """
    import worldtune

    if out is None and not dry_run:
        raise UserError("no output given", where="--out", hint="Give -o, or --dry-run.")
    done = worldtune.convert_adapter(source, to, None if dry_run else out, alpha=read_alphas(alpha), base=base)
    for line in (*done.remarks, *(f"note: {note}" for note in done.notes)):
        echo(line)
    if done.out is None:
        echo(f"{len(done.tensors)} tensors would be written, first: {done.tensors[0]}")
        for name in done.ignored:
            echo(f"ignored by {to}: {name}")
    else:
        echo(done.out)


def merge(
    base: Annotated[str, typer.Argument(help="A base's name, a diffusers folder, or NVIDIA's file of the denoiser.")],
    adapters: Annotated[list[str], typer.Argument(help="ADAPTER or ADAPTER=STRENGTH, one or several.")],
    out: Out,
    alpha: AlphaOption = None,
) -> None:
    """Write a copy of a base's denoiser with adapters merged in, each weight rounded once.

    A strength interpolates linearly between the base (0) and the adapter (1), also for DoRA. Fully trained weights
    beside the adapter (PEFT's modules_to_save) are merged too, and so are the moving averages in NVIDIA's file.

    Example:

        worldtune adapter merge models/cosmos runs/a/adapter=0.8 -o merged
    """
    import worldtune

    done = worldtune.merge_adapter(base, [weighted(text) for text in adapters], out, alpha=read_alphas(alpha))
    for line in done.remarks:
        echo(line)
    averages = f", and {done.averages} moving averages (net_ema)" if done.averages else ""
    echo(f"{done.weights} weights changed{averages}: {out}")


def blend(
    adapters: Annotated[list[str], typer.Argument(help="ADAPTER or ADAPTER=WEIGHT, two or more.")],
    out: Out,
    to: Annotated[str, typer.Option(help="diffusers, peft, nvidia, comfyui or kohya.")] = "diffusers",
    rank: Annotated[int | None, typer.Option(min=1, help="Reduce the sum to this rank (default: exact).")] = None,
    alpha: AlphaOption = None,
) -> None:
    """Write the weighted sum of several adapters as one LoRA.

    Without --rank the sum is exact, and the ranks add up. DoRA is rejected because its magnitudes cannot be added.

    Example:

        worldtune adapter blend runs/a/adapter=0.7 runs/b/adapter=0.3 -o both
    """
    import worldtune

    pairs = [weighted(text) for text in adapters]
    done = worldtune.blend_adapters(pairs, out, to=to, rank=rank, alpha=read_alphas(alpha))
    for line in done.remarks:
        echo(line)
    echo(f"rank {done.rank}, {done.kept_energy:.2%} of the energy kept: {out}")


def extract(
    full: Annotated[Path, typer.Argument(help="The fully fine-tuned denoiser.")],
    base: Annotated[str, typer.Argument(help="The denoiser it was tuned from, or a base's name.")],
    out: Out,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the LoRA.")] = 32,
    to: Annotated[str, typer.Option(help="diffusers, peft, nvidia, comfyui or kohya.")] = "diffusers",
) -> None:
    """Extract a LoRA from a fully fine-tuned model, by the singular values of the weight changes.

    Example:

        worldtune adapter extract tuned.safetensors models/cosmos --rank 32 -o lora
    """
    from worldtune.generation.adapter_exchange import extract_adapter

    done = extract_adapter(full, base, out, rank, to)
    echo(f"rank {rank} keeps {done.kept_energy:.2%} of the energy of the weight changes: {out}")
    if done.touched:
        echo(f"not included: {len(done.touched)} other changed tensors, first: {done.touched[0]}")


def diff(first: Source, second: Source, alpha: AlphaOption = None) -> None:
    """Show how much two adapters differ in each module, largest difference first.

    Example:

        worldtune adapter diff runs/a/adapter runs/b/adapter
    """
    from worldtune.generation.adapter_exchange import diff_adapters

    done, rest = diff_adapters(first, second, read_alphas(alpha))
    for line in rest:
        echo(line)
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


def _facts(layers: "dict[str, LowRank]") -> dict[str, Any]:
    ranks = sorted({layer.rank for layer in layers.values()})
    return {
        "method": _method(layers),
        "rank": "/".join(map(str, ranks)),
        "alpha": "/".join(f"{alpha:g}" for alpha in sorted({layer.alpha for layer in layers.values()})),
        "modules": len(layers),
        "parameters": sum(
            part.numel()
            for layer in layers.values()
            for part in (layer.a_RI, layer.b_OR, layer.magnitude_O, layer.magnitude_I)
            if part is not None
        ),
    }


def _method(layers: "dict[str, LowRank]") -> str:
    if any(layer.magnitude_I is not None for layer in layers.values()):
        return "DoRA over inputs"
    return "DoRA" if any(layer.is_dora for layer in layers.values()) else "LoRA"
