"""`worldtune plan`: what a video will need of a GPU, predicted without one."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.errors import UserError

if TYPE_CHECKING:
    from worldtune.planning.generation import GenerationPlan
    from worldtune.planning.gpus import Gpu
    from worldtune.worlds.catalog import KnownBase


def plan(
    base: Annotated[str, typer.Argument(help="A base of `worldtune bases`.")],
    gpu: Annotated[str | None, typer.Option(help="A card by name, as rtx4090, l40s, a100-40 or h100.")] = None,
    memory: Annotated[str | None, typer.Option(help="A card's memory instead, as 24GB.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of the video; the base's own when not given.")] = None,
    height: Annotated[int | None, typer.Option(help="Its height; the base's own when not given.")] = None,
    width: Annotated[int | None, typer.Option(help="Its width; the base's own when not given.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="NVIDIA's num_steps.")] = 35,
    guidance: Annotated[int, typer.Option(min=0, max=7, help="0 to 7; 0 halves the work.")] = 3,
    utilisation: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of the card's speed that is met.")] = 0.4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how much memory and time a video of a base will need, and the least offload that fits a card.

    Computed from shapes by the code that makes the video, in bfloat16, with no GPU and no weights: a card of N GB has
    N·2³⁰ bytes, of which 1 GiB is left to CUDA. The time is the denoiser's.

    Example:

        worldtune plan predict2.5-2b/post-trained --memory 16GB
    """
    from worldtune.planning.generation import plan_generation
    from worldtune.planning.gpus import find_gpu, gpu_with
    from worldtune.worlds.source import find_base

    known = find_base(base, "worldtune plan")
    if gpu and memory:
        raise UserError("--gpu and --memory both say what card it is", where="command line", mend="Choose one.")
    card = find_gpu(gpu) if gpu else gpu_with(memory) if memory else None
    guided = guidance > 0 and known.schedule.kind != "distilled"
    size = (frames or known.frames, height or known.height, width or known.width)
    planned = plan_generation(known, *size, guidance=guided)
    operations = planned.flops * (2 if guided else 1) * known.schedule.evaluations(steps)
    told = _told(known, planned, card, size, operations, utilisation)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _say(planned, told)
    if card and told["offload"] is None:
        least = min(planned.peak(offload) for offload in planned.phases) / 2**30
        what = f"it needs {_short(least)} GiB, {_short(told['usable_gib'])} are usable"
        raise UserError(what, where=card.name, mend="Ask for fewer frames or a smaller size.")


def _told(
    known: "KnownBase",
    planned: "GenerationPlan",
    card: "Gpu | None",
    size: tuple[int, int, int],
    operations: int,
    utilisation: float,
) -> dict[str, Any]:
    speed = card.teraflops if card else None
    return {
        "base": known.name,
        "frames": size[0],
        "height": size[1],
        "width": size[2],
        "gib": {
            offload: {phase: count / 2**30 for phase, count in phases.items()}
            for offload, phases in planned.phases.items()
        },
        "petaflop": operations / 1e15,
        "gpu": card.name if card else None,
        "usable_gib": card.usable / 2**30 if card else None,
        "offload": planned.fits(card.usable) if card else None,
        "utilisation": utilisation,
        "seconds": operations / (speed * 1e12 * utilisation) if speed else None,
    }


def _say(planned: "GenerationPlan", told: dict[str, Any]) -> None:
    typer.echo(f"{told['base']}, {told['frames']} frames of {told['height']}×{told['width']}, bfloat16: GiB at most")
    typer.echo("".join(f"{name:>12}" for name in ("", "", *planned.phases)))
    for phase in next(iter(planned.phases.values())):
        typer.echo(f"{phase:<24}" + "".join(_cell(told["gib"][offload][phase]) for offload in planned.phases))
    typer.echo(f"{'at most':<24}" + "".join(_cell(planned.peak(offload) / 2**30) for offload in planned.phases))
    typer.echo(f"{_short(told['petaflop'])} PFLOP a video")
    if told["seconds"]:
        minutes = f"{told['seconds'] / 60:.1f} minutes"
        typer.echo(f"{minutes} on {told['gpu']} if {told['utilisation']:.0%} of its speed are met")
    if told["offload"]:
        typer.echo(f"fits {told['gpu']} ({told['usable_gib']:.1f} GiB usable) with --offload {told['offload']}")


def _cell(value: float) -> str:
    return f"{_short(value):>12}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
