"""`worldtune check`: would a recipe get the clips it expects?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from worldtune.episodes.dataset import Dataset, DataSpec
    from worldtune.episodes.episode import Problem
    from worldtune.episodes.sources import Source


class Report(NamedTuple):
    """What one dataset gives; `faults` say why it must not be trained on as it is."""

    spec: "DataSpec"
    dataset: "Dataset"
    problems: "list[Problem]"
    faults: list[str]


def check(
    source: Annotated[str, typer.Argument(metavar="SRC|RECIPE.yaml", help="Dataset, or a recipe with its data.")],
    max_loss: Annotated[float, typer.Option(help="Share of recordings that may give no clip.")] = 0.05,
    frames: Annotated[int | None, typer.Option(help="Frames of a clip.  [default: 21]")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second.  [default: 16]")] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels.  [default: 64]")] = None,
    width: Annotated[int | None, typer.Option(help="Width in pixels.  [default: 64]")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="A camera to use; may be given again.")] = None,
    ledger: Annotated[Path | None, typer.Option(metavar="PARQUET", help="Write the ledger.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which clips of a dataset a recipe would use, and why not the others.

    Exits with 2 when more recordings than --max-loss give no clip at all, when nothing is left to train on, or
    when frames, states and actions cannot belong together. What is left over at an episode's end is listed but
    counts as no loss. A recipe brings its own clip size and cameras.

    Example:

        worldtune check data/gr1_picknplace --camera observation.images.ego_view
    """
    given = {"frames": frames, "fps": fps, "height": height, "width": width, "cameras": camera}
    specs = _specs(source, {key: value for key, value in given.items() if value is not None})
    reports = [_report(spec, max_loss) for spec in specs]
    if ledger is not None:
        _write_ledger(ledger, reports)
    if as_json:
        typer.echo(json.dumps([_as_json(report) for report in reports], indent=2, ensure_ascii=False))
    else:
        for report in reports:
            _print(report)
    if any(report.faults for report in reports):
        raise typer.Exit(2)


def _specs(source: str, given: dict[str, Any]) -> "list[DataSpec]":
    """What to check: the recipe's data and the data it replays, or one dataset with the options."""
    from worldtune.episodes.dataset import DataSpec
    from worldtune.errors import RecipeError
    from worldtune.strict import parse

    if not source.endswith((".yaml", ".yml")):
        settings = {"frames": 21, "fps": 16, "height": 64, "width": 64, "path": source, **given}
        return [parse(DataSpec, settings, "command line")]
    from worldtune.training.recipe import load_recipe

    if given:
        raise RecipeError(
            f"--{next(iter(given)).replace('cameras', 'camera')} does not go with a recipe",
            where=source,
            mend="Change the recipe's data section.",
        )
    recipe = load_recipe(Path(source), [])
    return [recipe.data] + ([recipe.replay.data] if recipe.replay else [])


def _report(spec: "DataSpec", max_loss: float) -> Report:
    from worldtune.cli.progress import progress
    from worldtune.episodes.dataset import take_stock
    from worldtune.episodes.sources import choose_cameras, open_source

    source = open_source(spec.path)
    choose_cameras(source, spec.cameras)  # before there is a bar on the screen
    with progress("decode") as advance:
        dataset = take_stock(spec, advance)
    problems = source.problems()
    return Report(spec, dataset, problems, _faults(spec, dataset, source, problems, max_loss))


def _faults(
    spec: "DataSpec", dataset: "Dataset", source: "Source", problems: "list[Problem]", max_loss: float
) -> list[str]:
    cameras = source.cameras if spec.cameras is None else spec.cameras
    recordings = dataset.ledger.recordings()
    lost = sum(not kept for kept in recordings.values())
    faults = []
    if dataset.ledger.share_lost() > max_loss:
        share = f"{dataset.ledger.share_lost():.0%}"
        faults.append(f"{lost} of {len(recordings)} recordings give no clip ({share}, allowed are {max_loss:.0%})")
        if not set(cameras) <= set(source.present):
            faults[-1] += f"; cameras with files: {', '.join(source.present)}"
    if not dataset.train:
        faults.append("nothing is left for training")
    if spec.held_out > 0 and not dataset.held_out:
        faults.append("the held-out set is empty")
    errors = [problem for problem in problems if problem.level == "error" and problem.camera in ("", *cameras)]
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        faults.append(f"{errors[0].where}: {errors[0].what}{more}")
    return faults


def _write_ledger(path: Path, reports: list[Report]) -> None:
    from worldtune.episodes.ledger import Ledger

    Ledger(tuple(row for report in reports for row in report.dataset.ledger.rows)).write(path)


def _as_json(report: Report) -> dict[str, Any]:
    from dataclasses import asdict

    ledger = report.dataset.ledger
    return {
        "usable": not report.faults,
        "faults": report.faults,
        "data": report.spec.model_dump(mode="json"),
        "digest": report.dataset.digest,
        "train": len(report.dataset.train),
        "held_out": len(report.dataset.held_out),
        "share_lost": ledger.share_lost(),
        "not_used": [asdict(row) for row in ledger.rows if not row.kept],
        "problems": [asdict(problem) for problem in report.problems],
    }


def _print(report: Report) -> None:
    from worldtune.cli.data_tables import open_console, print_lost, print_problems

    console, spec, dataset = open_console(), report.spec, report.dataset
    size = f"{spec.frames} frames at {spec.fps:g} fps, {spec.height}×{spec.width} pixels, {spec.fit}"
    console.print(f"{spec.path}\n{size}\n")
    console.print(f"{len(dataset.train)} clips for training, {len(dataset.held_out)} held out\n")
    print_lost(console, dataset.ledger)
    print_problems(console, report.problems)
    for fault in report.faults:
        console.print(f"unusable: {fault}")
    if not report.faults:
        console.print("usable")
