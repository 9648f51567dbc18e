"""Export the kept dreams of a set, and export a dataset again after an adapter was withdrawn.

Shapes: T frames, H×W pixels, C colors, D numbers of a command, S numbers of a state.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from worldtune.core.files import digest_json, write_json
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.made_with import MADE_WITH, write_made_with
from worldtune.data.sources.lerobot.layouts import Groups, Version
from worldtune.dreams.dream_folder import DreamFolder
from worldtune.dreams.export import ExportedDreams, LabeledEpisode, export_dreams
from worldtune.dreams.idm.labels_file import read_labels
from worldtune.dreams.ledger import DreamRow, kept_rows, read_rows
from worldtune.dreams.making.worker import LABELS, VIDEOS, read_video
from worldtune.dreams.request import Outcome
from worldtune.errors import DataError, RecipeError

EXPORT = "meta/dreams.json"
IMAGE_COLUMN = "observation.images."


class ExportSettings(StrictModel):
    """How a dream set was exported: with these settings it can be exported again."""

    version: Version = "v3.0"
    outcome: Outcome = "success"
    camera: str | None = None
    robot_type: str = "unknown"
    action_names: tuple[str, ...] | None = None
    groups: Groups | None = None


def export_set(folder: Path, out: Path, settings: ExportSettings) -> ExportedDreams:
    """Write the kept dreams of `folder` as a LeRobot dataset, with what they were made with in meta/made_with.json.

    Raise DataError if no dream is kept or shows the outcome, or the dreams are of several cameras and none is chosen.
    """
    dreams = DreamFolder(folder)
    plan = dreams.plan()
    rows, camera = _of_camera(kept_rows(read_rows(folder)), settings.camera, folder)
    names = plan.state_names or None
    exported = export_dreams(
        _episodes(folder, rows),
        out,
        fps=plan.size.fps,
        robot=Robot(settings.robot_type, names, settings.action_names),
        camera=plan.size.tile or camera,
        action_space=plan.action_space,
        version=settings.version,
        groups=settings.groups,
        outcome=settings.outcome,
    )
    write_json(out / EXPORT, settings.model_dump(mode="json"))
    write_made_with(out / "meta" / MADE_WITH, dreams.made_with())
    return exported


def read_settings(out: Path) -> ExportSettings:
    """Return the settings with which the dataset `out` was exported. Raise DataError if it is not one of dreams."""
    path = out / EXPORT
    if not path.is_file():
        what = "this is not a dataset of dreams"
        raise DataError(what, where=str(out), hint="Name a dataset that `worldtune dream export` wrote.")
    try:
        return parse_model(ExportSettings, read_json(path), str(path))
    except RecipeError as error:
        raise DataError(error.what, where=error.where, hint="Export the dreams again.") from error


def _of_camera(rows: Sequence[DreamRow], camera: str | None, folder: Path) -> tuple[list[DreamRow], str]:
    """Return the rows of one camera and its column; dreams of images have any camera."""
    cameras = sorted({row.camera for row in rows if row.camera})
    if camera is None and len(cameras) != 1 and rows:
        what = f"the dreams are of {len(cameras)} cameras: {', '.join(cameras)}" if cameras else "images name no camera"
        raise DataError(what, where=str(folder), hint="Choose one with --camera, such as observation.images.front.")
    chosen = camera if camera is not None else (cameras or [""])[0]
    return [row for row in rows if row.camera in ("", chosen)], chosen


def _episodes(folder: Path, rows: Sequence[DreamRow]) -> Iterator[LabeledEpisode]:
    """Yield the dreams one at a time. Raise DataError if a file is missing or damaged."""
    for row in rows:
        labels = read_labels(folder / LABELS / f"{row.name}.npz")
        yield LabeledEpisode(
            read_video(folder / VIDEOS / f"{row.name}.mp4"),
            labels.states_TS,
            labels.commands_ID,
            row.task,
            lineage_of(row),
            row.outcome,
        )


def lineage_of(row: DreamRow) -> dict[str, str]:
    """Return the lineage of an episode: digests of its models, its prompt, seed and first frame."""
    return {
        "adapter": row.adapter or "",
        "base": row.base,
        "prompt": row.prompt,
        "seed": str(row.seed),
        "idm": row.idm,
        "critics": digest_json(row.critics) if row.critics else "",
        "first_frame": f"{row.source}/{row.episode} {row.frame}",
        "dream": row.name,
        "release": row.release or "",
    }
