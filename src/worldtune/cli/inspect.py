"""`worldtune inspect`: show what a dataset contains."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worldtune.cli.terminal.output import echo, echo_json

if TYPE_CHECKING:
    from rich.console import Console

    from worldtune.data.dataset import Dataset
    from worldtune.data.inspection.summary import InspectedRecording, Inspection
    from worldtune.data.spec import DataSpec


def inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="A folder or file: LeRobot, mp4, HDF5, ROS, Zarr, RLDS; hf:OWNER/NAME; builtin:NAME."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    sheet: Annotated[Path | None, typer.Option(metavar="PNG", help="Write a contact sheet.")] = None,
    frames: Annotated[int, typer.Option(help="Frames per clip in the recipe to try.")] = 21,
    fps: Annotated[float, typer.Option(help="Its frames per second.")] = 16,
    height: Annotated[int, typer.Option(help="Its height in pixels.")] = 64,
    width: Annotated[int, typer.Option(help="Its width in pixels.")] = 64,
    recorded_fps: Annotated[float | None, typer.Option(help="The source's frame rate, if it states none.")] = None,
    flip: Annotated[
        Literal["vertical", "horizontal", "both"] | None, typer.Option(help="Flip the images first.")
    ] = None,
    caption: Annotated[str, typer.Option(help="Its caption, such as 'The robot: {task}'.")] = "{caption}",
) -> None:
    """Show what a dataset contains.

    Decodes every frame, so the counts are exact. Prints episodes, cameras, tasks, lengths, contradictions between the
    metadata and the files, and how many clips a recipe would get. Writes nothing except the contact sheet.

    Example:

        worldtune inspect data/gr1_picknplace --sheet gr1.png
    """
    from worldtune.cli.terminal.data_tables import open_console
    from worldtune.cli.terminal.progress import bars
    from worldtune.core.settings import parse_model
    from worldtune.data.inspection.inspect_dataset import inspect_dataset
    from worldtune.data.spec import DataSpec

    settings = {"path": source, "frames": frames, "fps": fps, "height": height, "width": width}
    settings |= {"recorded_fps": recorded_fps, "flip": flip, "caption": caption}
    spec = parse_model(DataSpec, settings, "command line")
    with bars() as progress:
        result = inspect_dataset(spec, sheet, progress)
    if as_json:
        echo_json(_as_json(result.inspection, spec, result.dataset))
        return
    _print(open_console(), result.inspection, spec, result.dataset)
    if sheet is not None:
        echo(f"{sheet}: {result.shown} of {len(result.inspection.usable)} recordings")


def _as_json(inspection: "Inspection", spec: "DataSpec", dataset: "Dataset") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "source": inspection.source,
        "kind": inspection.kind,
        "cameras": inspection.cameras,
        "recordings": [asdict(recording) for recording in inspection.recordings],
        "splits": inspection.splits,
        "problems": [asdict(problem) for problem in inspection.problems],
        "recipe": spec.model_dump(mode="json"),
        "clips": len(dataset.train),
        "not_used": dataset.ledger.reasons(),
    }


def _print(console: "Console", inspection: "Inspection", spec: "DataSpec", dataset: "Dataset") -> None:
    from worldtune.cli.terminal.data_tables import print_line, print_lost, print_problems, print_table

    recordings = inspection.recordings
    episodes = list(dict.fromkeys(recording.episode for recording in recordings))
    print_line(console, inspection.source)
    print_line(console, f"{inspection.kind}, {len(episodes)} episodes", gap=True)
    cameras = [_camera_row(camera, recordings) for camera in inspection.cameras]
    print_table(console, "Cameras", ("camera", "usable#", "pixels#", "fps#", "seconds#", "total#"), cameras)
    if any(recording.task for recording in recordings):
        print_table(console, "Tasks", ("episodes#", "task"), _task_rows(recordings))
    if set(inspection.splits.values()) - {len(episodes)}:
        splits = ", ".join(f"{name} ({count} episodes)" for name, count in inspection.splits.items())
        print_line(console, f"The dataset states the split {splits}.", gap=True)
    used_cameras = {recording.camera for recording in recordings if not recording.reason}
    rows = [_episode_row(recording) for recording in recordings if recording.camera in used_cameras or not used_cameras]
    print_table(console, "Recordings", ("episode", "camera", "frames#", "state#", "action#", "what it shows"), rows)
    print_problems(console, inspection.problems)
    size = f"{spec.frames} frames at {spec.fps:g} fps, {spec.height}×{spec.width} pixels"
    print_line(console, f"A recipe of {size} would get {len(dataset.train)} clips.", gap=True)
    if dataset.train:
        print_line(console, f"Caption of the first clip: {dataset.train[0].caption}", gap=True)
    print_lost(console, dataset.ledger)


def _camera_row(camera: str, recordings: "list[InspectedRecording]") -> tuple[object, ...]:
    of_camera = [recording for recording in recordings if recording.camera == camera]
    usable = [recording for recording in of_camera if not recording.reason]
    count = f"{len(usable)} of {len(of_camera)}"
    if not usable:
        return camera, count, "–", "–", "–", "–"
    seconds = [recording.seconds for recording in usable]
    pixels = sorted({f"{recording.height}×{recording.width}" for recording in usable})
    rates = sorted({f"{recording.fps:g}" for recording in usable})
    minutes, rest = divmod(round(sum(seconds)), 60)
    lengths = "–".join(sorted({f"{length:.1f}" for length in (min(seconds), max(seconds))}, key=float))
    return camera, count, ", ".join(pixels[:2]), ", ".join(rates[:2]), lengths, f"{minutes}:{rest:02d}"


def _task_rows(recordings: "list[InspectedRecording]") -> list[tuple[object, ...]]:
    episodes_of: dict[str, set[str]] = {}
    for recording in recordings:
        for task in recording.tasks:
            episodes_of.setdefault(task, set()).add(recording.episode)
    return [(len(episodes), task or "(none)") for task, episodes in episodes_of.items()]


def _episode_row(recording: "InspectedRecording") -> tuple[object, ...]:
    dimensions = ("–" if n is None else n for n in (recording.states, recording.actions))
    tasks = ", then ".join(task or "(no text)" for task in recording.tasks) if any(recording.tasks) else ""
    shows = f"not used: {recording.reason}" if recording.reason else tasks or recording.caption or "(no text)"
    if recording.note:
        shows += f" ({recording.note})"
    return recording.episode, recording.camera.removeprefix("observation.images."), recording.frames, *dimensions, shows
