"""`worldtune check`: show which clips a recipe would use."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worldtune.cli.terminal.output import echo, echo_json

if TYPE_CHECKING:
    from worldtune.data.spec import DataSpec
    from worldtune.evaluation.check import CheckedDataset
    from worldtune.training.recipe import Recipe


def check(
    source: Annotated[str, typer.Argument(metavar="SRC|RECIPE", help="A dataset, or a recipe with its data.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="For a recipe: section.key=value.")] = None,
    max_skipped: Annotated[
        float | None, typer.Option(help="Allowed share of recordings without a clip.  [default: 0.05]")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames per clip.  [default: 21]")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.  [default: 16]")] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels.  [default: 64]")] = None,
    width: Annotated[int | None, typer.Option(help="Width in pixels.  [default: 64]")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="A camera to use; repeatable.")] = None,
    ledger: Annotated[Path | None, typer.Option(metavar="PARQUET", help="Write the ledger.")] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Write a page with the worst clips of each kind.")
    ] = None,
    recorded_fps: Annotated[float | None, typer.Option(help="The source's frame rate, if it states none.")] = None,
    flip: Annotated[
        Literal["vertical", "horizontal", "both"] | None, typer.Option(help="Flip the images first.")
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="A template, such as 'The robot: {task}'.  [default: {caption}]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which clips of a dataset a recipe would use, and why others are not used.

    If a recipe's base is on this machine, also show which captions are too long for it, and how well its codec
    reconstructs a clip.

    Exits with 2 if a larger share of recordings than --max-skipped gives no clip, if nothing is left to train on, or
    if frames, states and actions contradict each other. Frames left over at an episode's end are listed, but do not
    count as skipped. A recipe sets the clip size and cameras itself. --page shows the worst clips of each kind, used or
    not, and every pair of recordings with the same footage.

    Example:

        worldtune check data/gr1_picknplace --camera observation.images.ego_view
    """
    options: dict[str, Any] = {
        "frames": frames,
        "fps": fps,
        "height": height,
        "width": width,
        "cameras": camera,
        "max_skipped": max_skipped,
    }
    options |= {"recorded_fps": recorded_fps, "flip": flip, "caption": caption}
    options = {key: value for key, value in options.items() if value is not None}
    target = _recipe_or_dataset(source, overrides or [], options)
    count = len(target if isinstance(target, dict) else target.datasets)
    pages = [page.with_stem(f"{page.stem}{f'-{n + 1}' if n else ''}") for n in range(count)] if page else []
    for file in filter(None, [ledger, page]):
        from worldtune.core.files import make_folder

        make_folder(file.parent)  # before the long work
    from worldtune.cli.terminal.progress import bars
    from worldtune.evaluation.check import check_datasets, check_recipe

    with bars() as progress:
        checked = check_datasets(target, None, progress) if isinstance(target, dict) else check_recipe(target, progress)
    if ledger is not None:
        from worldtune.data.ledger import join_ledgers

        join_ledgers(item.dataset.ledger for item in checked).write(ledger)
    if page is not None:
        from worldtune.data.inspection.curation_page import write_curation_page

        for path, item in zip(pages, checked, strict=True):
            write_curation_page(path, item.spec, item.dataset)
    if as_json:
        with_base = any(item.base for item in checked)
        echo_json([_as_json(item) | {"base": asdict(item.base) if with_base and item.base else None}
                   for item in checked])  # fmt: skip
    else:
        for file in filter(None, [ledger, *pages]):
            echo(f"written: {file}")
        for item in checked:
            _print(item)
    if any(item.dataset.faults for item in checked):
        raise typer.Exit(2)


def _recipe_or_dataset(source: str, overrides: list[str], options: dict[str, Any]) -> "Recipe | dict[str, DataSpec]":
    """Return the recipe to check, or else the one dataset with the options."""
    import worldtune
    from worldtune.core.settings import parse_model
    from worldtune.data.spec import DataSpec
    from worldtune.errors import RecipeError
    from worldtune.training.shipped_recipes import recipe_names

    if not source.endswith((".yaml", ".yml")) and (source not in recipe_names() or Path(source).exists()):
        if overrides:
            what = f"'{overrides[0]}' applies to a recipe, not to a dataset"
            raise RecipeError(what, where=source, hint="Use the options, or name a recipe.")
        settings = {"frames": 21, "fps": 16, "height": 64, "width": 64, "path": source, **options}
        return {"": parse_model(DataSpec, settings, "command line")}
    if options:
        raise RecipeError(
            f"--{next(iter(options)).replace('cameras', 'camera').replace('_', '-')} does not apply to a recipe",
            where=source,
            hint="Change the recipe's data section.",
        )
    return worldtune.load_recipe(source, overrides)


def _as_json(checked: "CheckedDataset") -> dict[str, Any]:
    spec, dataset = checked.spec, checked.dataset
    return {
        "name": checked.name,
        "usable": not dataset.faults,
        "faults": [vars(fault) for fault in dataset.faults],
        "data": spec.model_dump(mode="json"),
        "digest": dataset.digest,
        "train": len(dataset.train),
        "held_out": len(dataset.held_out),
        "new_task": len(dataset.new_task),
        "new_camera": len(dataset.new_camera),
        "share_lost": dataset.ledger.share_skipped(),
        "not_used": [vars(row) for row in dataset.ledger.rows if not row.kept],
        "same_footage": [vars(pair) for pair in dataset.same_footage],
        "used_but": dataset.ledger.notes(),
        "problems": [vars(problem) for problem in dataset.problems],
        "obedience": checked.obedience,
    }


def _print(checked: "CheckedDataset") -> None:
    from worldtune.cli.terminal.data_tables import (
        open_console,
        print_line,
        print_lost,
        print_notes,
        print_problems,
        print_same_footage,
    )

    console, name, spec, dataset = open_console(), checked.name, checked.spec, checked.dataset
    size = f"{spec.frames} frames at {spec.fps:g} fps, {spec.height}×{spec.width} pixels, {spec.fit}"
    print_line(console, f"{f'{name}: ' if name else ''}{spec.path}")
    print_line(console, size, gap=True)
    separate = {"of new tasks": dataset.new_task, "of new cameras": dataset.new_camera}
    more = "".join(f", {len(clips)} {what}" for what, clips in separate.items() if clips)
    use = "to measure forgetting" if name == "retention" else "for training"
    print_line(console, f"{len(dataset.train)} clips {use}, {len(dataset.held_out)} held out{more}", gap=True)
    print_lost(console, dataset.ledger)
    print_notes(console, dataset.ledger)
    print_same_footage(console, dataset.same_footage)
    print_problems(console, dataset.problems)
    for line in (*checked.codec, *filter(None, [checked.obedience])):
        print_line(console, line, gap=True)
    for fault in dataset.faults:
        print_line(console, f"unusable: {fault}")
        print_line(console, f"hint: {fault.hint}")
    if not dataset.faults:
        print_line(console, "usable")
