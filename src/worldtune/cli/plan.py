"""`worldtune plan`: what a training run or a video will need of a GPU, predicted without one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.cli.output import echo_json
from worldtune.errors import UserError, did_you_mean
from worldtune.worlds.catalog import BY_NAME

if TYPE_CHECKING:
    from worldtune.planning.gpus import Gpu

VIDEO_STEPS = 35
UTILISATION = 0.4


def plan(
    what: Annotated[str, typer.Argument(help="A recipe's name or file: its training. A base's name: a video.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="of a recipe: section.key=value")] = None,
    gpu: Annotated[str | None, typer.Option(help="A card by name, as rtx4090, l40s, a100-40 or h100.")] = None,
    memory: Annotated[str | None, typer.Option(help="A card's memory instead, as 24GB.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of the video; the base's own when not given.")
    ] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Its height; the base's own when not given.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Its width; the base's own when not given.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="NVIDIA's num_steps of the video; 35.")] = None,
    guidance: Annotated[int | None, typer.Option(min=0, max=7, help="Of the video; 0 halves the work.")] = None,
    utilisation: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="Share of the card's speed that is met, with --gpu; 0.4.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how much memory and time training or a video will need, and what makes it fit a card.

    Computed from shapes by the code that trains or samples, in bfloat16, with no GPU and no weights: a card of N GB has
    N·2³⁰ bytes, of which 1 GiB is left to CUDA. The time is the denoiser's. What cannot fit is refused.

    Example:

        worldtune plan predict2.5-2b/post-trained --memory 16GB
    """
    from worldtune.cli import planning
    from worldtune.cli.recipes import find_recipe
    from worldtune.planning.gpus import find_gpu, gpu_with

    if gpu and memory:
        raise UserError("--gpu and --memory both say what card it is", where="command line", mend="Choose one.")
    if utilisation is not None and not gpu:
        raise UserError("whose speed is not known", where="--utilisation", mend="Name the card with --gpu.")
    card = find_gpu(gpu) if gpu else gpu_with(memory) if memory else None
    options = {"frames": frames, "height": height, "width": width, "steps": steps, "guidance": guidance}
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if what in BY_NAME and overrides:
        raise UserError(f"a base has no {overrides[0]}", where="command line", mend="Name a recipe, or leave it out.")
    if what in BY_NAME:
        size = {"frames": frames, "height": height, "width": width}
        told = planning.of_video(BY_NAME[what], size, steps or VIDEO_STEPS, guidance)
    else:
        _refuse_unknown(what)
        if given:
            mend = "Leave them out, or write data.frames=93 and the like."
            raise UserError(f"{', '.join(given)} would be ignored: the recipe says it", where=what, mend=mend)
        told = planning.of_training(find_recipe(what, overrides or []), card)
    _finish(told, card, UTILISATION if utilisation is None else utilisation, as_json)


def _refuse_unknown(what: str) -> None:
    """Raises UserError, with the nearest name, for what is neither a recipe nor a base."""
    from worldtune.cli.recipes import recipe_names

    if what in recipe_names() or Path(what).suffix in (".yaml", ".yml") or Path(what).exists():
        return
    mend = did_you_mean(what, [*recipe_names(), *BY_NAME], "See `worldtune recipes` and `worldtune bases`.")
    raise UserError(f"no such recipe or base: '{what}'", where="worldtune plan", mend=mend)


def _finish(told: dict[str, Any], card: "Gpu | None", utilisation: float, as_json: bool) -> None:
    """Print what was planned. Raises UserError when nothing fits the card."""
    from worldtune.cli.planning import say, short, with_card

    told = with_card(told, card, utilisation)
    if as_json:
        echo_json(told)
    else:
        say(told)
    if card and told["fits_with"] is None:
        least = short(min(max(column.values()) for column in told["gib"].values()))
        what = f"it needs {least} GiB, {short(told['usable_gib'])} are usable"
        raise UserError(what, where=card.name, mend="Ask for fewer frames or a smaller size.")
