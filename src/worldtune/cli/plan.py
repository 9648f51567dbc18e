"""`worldtune plan`: predict what a training run or a video needs from a GPU, without using one."""

from typing import Annotated

import typer

from worldtune.cli.terminal.output import echo_json, echo_text, say_first
from worldtune.errors import UserError


def plan(
    what: Annotated[
        str, typer.Argument(help="A recipe's name or file, to plan its training; or a base's name, to plan a video.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="For a recipe: section.key=value.")] = None,
    gpu: Annotated[str | None, typer.Option(help="A GPU, such as rtx4090, l40s, a100-40 or h100.")] = None,
    memory: Annotated[str | None, typer.Option(help="The GPU's memory instead, such as 24GB.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of the video (default: the base's).")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Height of the video (default: the base's).")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Width of the video (default: the base's).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="NVIDIA's num_steps for the video (default: 35).")] = None,
    guidance: Annotated[
        int | None, typer.Option(min=0, max=7, help="Guidance of the video; 0 halves the work.")
    ] = None,
    utilization: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, help="With --gpu: the share of peak speed that is reached (default: 0.4)."),
    ] = None,
    dreams: Annotated[int | None, typer.Option(min=1, help="Plan this many labeled videos of a base too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict the memory and time of a training run or a video, and the settings that fit a GPU.

    The code that trains or samples runs on shapes alone, in bfloat16, so no GPU or weights are needed. A GPU of N GB
    has N·2³⁰ bytes, and 1 GiB is reserved for CUDA. The time is the denoiser's. Exits with 2 if nothing fits.

    Example:

        worldtune plan predict2.5-2b/post-trained --memory 16GB
    """
    say_first("plan: reading shapes")
    import worldtune
    from worldtune.models.catalog import BY_NAME
    from worldtune.planning.plan import short

    if what in BY_NAME and overrides:
        raise UserError(
            f"{overrides[0]} applies to a recipe, not to a base", where="command line", hint="Specify a recipe."
        )
    result = worldtune.plan(
        worldtune.load_recipe(what, overrides) if overrides else what,
        gpu=gpu,
        memory=memory,
        frames=frames,
        height=height,
        width=width,
        steps=steps,
        guidance=guidance,
        utilization=utilization,
        dreams=dreams,
    )
    if as_json:
        echo_json(result.as_json())
    else:
        echo_text(str(result))
    if result.gpu and result.fits_with is None:
        need = f"{short(result.least_gib)} GiB are needed, {short(result.usable_gib or 0)} are usable"
        raise UserError(need, where=result.gpu, hint="Use fewer frames or a smaller size.")
