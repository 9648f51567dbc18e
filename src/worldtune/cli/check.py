"""`worldtune check`: would a recipe get the clips it expects?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.cli.output import echo, echo_json

if TYPE_CHECKING:
    from worldtune.episodes.dataset import Dataset
    from worldtune.episodes.spec import DataSpec


def check(
    source: Annotated[str, typer.Argument(metavar="SRC|RECIPE", help="A dataset, or a recipe with its data.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Of a recipe: section.key=value.")] = None,
    max_loss: Annotated[
        float | None, typer.Option(help="Share of recordings that may give no clip.  [default: 0.05]")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a clip.  [default: 21]")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second.  [default: 16]")] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels.  [default: 64]")] = None,
    width: Annotated[int | None, typer.Option(help="Width in pixels.  [default: 64]")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="A camera to use; may be given again.")] = None,
    ledger: Annotated[Path | None, typer.Option(metavar="PARQUET", help="Write the ledger.")] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Write a page of the worst clips of each kind.")
    ] = None,
    recorded_fps: Annotated[float | None, typer.Option(help="The source's rate, where it states none.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which clips of a dataset a recipe would use, and why not the others.

    Exits with 2 when more recordings than --max-loss give no clip at all, when nothing is left to train on, or
    when frames, states and actions cannot belong together. What is left over at an episode's end is listed but
    counts as no loss. A recipe brings its own clip size and cameras. --page shows the worst clips of each kind,
    those that are not used and those that are.

    Example:

        worldtune check data/gr1_picknplace --camera observation.images.ego_view
    """
    given = {"frames": frames, "fps": fps, "height": height, "width": width, "cameras": camera, "max_loss": max_loss}
    given["recorded_fps"] = recorded_fps
    specs = _specs(source, overrides or [], {key: value for key, value in given.items() if value is not None})
    pages = [page.with_stem(f"{page.stem}{f'-{n + 1}' if n else ''}") for n in range(len(specs))] if page else []
    for file in filter(None, [ledger, page]):
        from worldtune.files import make_folder

        make_folder(file.parent)  # before the long work
    reports = [(name, spec, _take_stock(spec)) for name, spec in specs.items()]
    if ledger is not None:
        from worldtune.episodes.ledger import join_ledgers

        join_ledgers(dataset.ledger for *_, dataset in reports).write(ledger)
    if page is not None:
        from worldtune.episodes.curation_page import write_curation_page

        for place, (_, spec, dataset) in zip(pages, reports, strict=True):
            write_curation_page(place, spec, dataset)
    if as_json:
        echo_json([_as_json(*report) for report in reports])
    else:
        for file in filter(None, [ledger, *pages]):
            echo(f"written: {file}")
        for report in reports:
            _print(*report)
    if any(dataset.faults for *_, dataset in reports):
        raise typer.Exit(2)


def _specs(source: str, overrides: list[str], given: dict[str, Any]) -> "dict[str, DataSpec]":
    """What to check: every dataset of a recipe by its name there, or one dataset with the options.

    Raises RecipeError for clips of a size that the recipe's base cannot make.
    """
    from worldtune.cli.recipes import find_recipe, recipe_names
    from worldtune.episodes.spec import DataSpec
    from worldtune.errors import RecipeError
    from worldtune.strict import parse
    from worldtune.worlds.size import check_size, config_of

    if not source.endswith((".yaml", ".yml")) and (source not in recipe_names() or Path(source).exists()):
        if overrides:
            what = f"'{overrides[0]}' goes with a recipe, not with a dataset"
            raise RecipeError(what, where=source, mend="Use the options, or name a recipe.")
        settings = {"frames": 21, "fps": 16, "height": 64, "width": 64, "path": source, **given}
        return {"": parse(DataSpec, settings, "command line")}
    if given:
        raise RecipeError(
            f"--{next(iter(given)).replace('cameras', 'camera').replace('_', '-')} does not go with a recipe",
            where=source,
            mend="Change the recipe's data section.",
        )
    recipe = find_recipe(source, overrides)
    if config := config_of(recipe.base):
        for name, spec in recipe.datasets.items():
            check_size(config, recipe.base, spec.frames, spec.height, spec.width, name)
    return recipe.datasets


def _take_stock(spec: "DataSpec") -> "Dataset":
    from worldtune.cli.progress import progress
    from worldtune.episodes.dataset import take_stock
    from worldtune.episodes.sources import choose_cameras, open_source

    choose_cameras(open_source(spec.path, spec.recorded_fps), spec.asked_cameras)  # before there is a bar on the screen
    with progress("decode") as advance:
        return take_stock(spec, advance)


def _as_json(name: str, spec: "DataSpec", dataset: "Dataset") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": name,
        "usable": not dataset.faults,
        "faults": dataset.faults,
        "data": spec.model_dump(mode="json"),
        "digest": dataset.digest,
        "train": len(dataset.train),
        "held_out": len(dataset.held_out),
        "new_task": len(dataset.new_task),
        "new_camera": len(dataset.new_camera),
        "share_lost": dataset.ledger.share_lost(),
        "not_used": [asdict(row) for row in dataset.ledger.rows if not row.kept],
        "used_but": dataset.ledger.notes(),
        "problems": [asdict(problem) for problem in dataset.problems],
    }


def _print(name: str, spec: "DataSpec", dataset: "Dataset") -> None:
    from worldtune.cli.data_tables import open_console, print_line, print_lost, print_notes, print_problems

    console = open_console()
    size = f"{spec.frames} frames at {spec.fps:g} fps, {spec.height}×{spec.width} pixels, {spec.fit}"
    print_line(console, f"{f'{name}: ' if name else ''}{spec.path}")
    print_line(console, size, gap=True)
    apart = {"of new tasks": dataset.new_task, "of new cameras": dataset.new_camera}
    more = "".join(f", {len(clips)} {what}" for what, clips in apart.items() if clips)
    use = "to measure forgetting" if name == "forgetting" else "for training"
    print_line(console, f"{len(dataset.train)} clips {use}, {len(dataset.held_out)} held out{more}", gap=True)
    print_lost(console, dataset.ledger)
    print_notes(console, dataset.ledger)
    print_problems(console, dataset.problems)
    for fault in dataset.faults:
        print_line(console, f"unusable: {fault}")
    if not dataset.faults:
        print_line(console, "usable")
