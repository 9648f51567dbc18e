"""`worldtune inspect`: what a dataset really holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.cli.output import echo, echo_json

if TYPE_CHECKING:
    from rich.console import Console

    from worldtune.episodes.dataset import Dataset
    from worldtune.episodes.inspection import Inspection, Recording
    from worldtune.episodes.spec import DataSpec


def inspect(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="A folder or file: LeRobot, mp4, HDF5, ROS; hf:OWNER/NAME; builtin:NAME."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    sheet: Annotated[Path | None, typer.Option(metavar="PNG", help="Write a contact sheet.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of a clip in the recipe to try.")] = 21,
    fps: Annotated[float, typer.Option(help="Its frames a second.")] = 16,
    height: Annotated[int, typer.Option(help="Its height in pixels.")] = 64,
    width: Annotated[int, typer.Option(help="Its width in pixels.")] = 64,
    recorded_fps: Annotated[float | None, typer.Option(help="The source's rate, where it states none.")] = None,
) -> None:
    """Say what a dataset really holds.

    Decodes every frame, so the counts are true ones. Prints episodes, cameras, tasks, lengths, whatever in the
    metadata contradicts the files, and how many clips a recipe would get. Nothing is written but the sheet.

    Example:

        worldtune inspect data/gr1_picknplace --sheet gr1.png
    """
    from worldtune.cli.data_tables import open_console
    from worldtune.cli.progress import progress
    from worldtune.episodes.contact_sheet import write_sheet
    from worldtune.episodes.dataset import take_stock
    from worldtune.episodes.inspection import inspect_source
    from worldtune.episodes.sources import open_source
    from worldtune.episodes.spec import DataSpec
    from worldtune.files import make_folder
    from worldtune.strict import parse

    settings = {"path": source, "frames": frames, "fps": fps, "height": height, "width": width}
    settings |= {"recorded_fps": recorded_fps}
    spec = parse(DataSpec, settings, "command line")
    opened = open_source(source, recorded_fps)
    if sheet is not None:
        make_folder(sheet.parent)  # before the long work
    with progress("decode") as advance:
        inspection = inspect_source(opened, advance)
    dataset = take_stock(spec)
    if as_json:
        echo_json(_as_json(inspection, spec, dataset))
    else:
        _print(open_console(), inspection, spec, dataset)
    if sheet is not None:
        shown = write_sheet(sheet, inspection.usable)
        if not as_json:
            echo(f"{sheet}: {shown} of {len(inspection.usable)} recordings")


def _as_json(inspection: "Inspection", spec: "DataSpec", dataset: "Dataset") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "source": inspection.source,
        "kind": inspection.kind,
        "cameras": inspection.cameras,
        "recordings": [asdict(recording) for recording in inspection.recordings],
        "problems": [asdict(problem) for problem in inspection.problems],
        "recipe": spec.model_dump(mode="json"),
        "clips": len(dataset.train),
        "not_used": dataset.ledger.reasons(),
    }


def _print(console: "Console", inspection: "Inspection", spec: "DataSpec", dataset: "Dataset") -> None:
    from worldtune.cli.data_tables import print_line, print_lost, print_problems, print_table

    recordings = inspection.recordings
    episodes = list(dict.fromkeys(recording.episode for recording in recordings))
    print_line(console, inspection.source)
    print_line(console, f"{inspection.kind}, {len(episodes)} episodes", gap=True)
    cameras = [_camera_row(camera, recordings) for camera in inspection.cameras]
    print_table(console, "Cameras", ("camera", "usable#", "pixels#", "fps#", "seconds#", "total#"), cameras)
    if any(recording.task for recording in recordings):
        print_table(console, "Tasks", ("episodes#", "task"), _task_rows(recordings))
    filmed = {recording.camera for recording in recordings if not recording.reason}
    rows = [_episode_row(recording) for recording in recordings if recording.camera in filmed or not filmed]
    print_table(console, "Recordings", ("episode", "camera", "frames#", "state#", "action#", "what it shows"), rows)
    print_problems(console, inspection.problems)
    size = f"{spec.frames} frames at {spec.fps:g} fps, {spec.height}×{spec.width} pixels"
    print_line(console, f"A recipe of {size} would get {len(dataset.train)} clips.", gap=True)
    print_lost(console, dataset.ledger)


def _camera_row(camera: str, recordings: "list[Recording]") -> tuple[object, ...]:
    mine = [recording for recording in recordings if recording.camera == camera]
    usable = [recording for recording in mine if not recording.reason]
    count = f"{len(usable)} of {len(mine)}"
    if not usable:
        return camera, count, "–", "–", "–", "–"
    seconds = [recording.seconds for recording in usable]
    pixels = sorted({f"{recording.height}×{recording.width}" for recording in usable})
    rates = sorted({f"{recording.fps:g}" for recording in usable})
    minutes, rest = divmod(round(sum(seconds)), 60)
    lengths = "–".join(sorted({f"{length:.1f}" for length in (min(seconds), max(seconds))}, key=float))
    return camera, count, ", ".join(pixels[:2]), ", ".join(rates[:2]), lengths, f"{minutes}:{rest:02d}"


def _task_rows(recordings: "list[Recording]") -> list[tuple[object, ...]]:
    episodes_of: dict[str, set[str]] = {}
    for recording in recordings:
        episodes_of.setdefault(recording.task, set()).add(recording.episode)
    return [(len(episodes), task or "(none)") for task, episodes in episodes_of.items()]


def _episode_row(recording: "Recording") -> tuple[object, ...]:
    dimensions = ("–" if n is None else n for n in (recording.states, recording.actions))
    shows = f"not used: {recording.reason}" if recording.reason else recording.task or recording.caption or "(no text)"
    if recording.note:
        shows += f" ({recording.note})"
    return recording.episode, recording.camera.removeprefix("observation.images."), recording.frames, *dimensions, shows
