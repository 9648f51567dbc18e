"""Sources: datasets of any known kind, read in place; the content of a folder shows its kind."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

from worldtune.data.builtin import resolve_data_path
from worldtune.data.columns import DEFAULT_COLUMNS, Columns
from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.sources.aloha.contents import is_aloha
from worldtune.data.sources.aloha.source import AlohaSource
from worldtune.data.sources.folder.listing import Listing, has_videos, is_video
from worldtune.data.sources.folder.source import FolderSource
from worldtune.data.sources.image_folder import ImageFolderSource, find_recording_folders
from worldtune.data.sources.lerobot.source import LeRobotSource
from worldtune.data.sources.rlds.source import RldsSource, is_rlds
from worldtune.data.sources.robomimic.source import HDF5_SUFFIXES, RobomimicSource
from worldtune.data.sources.rosbag.source import RosbagSource, is_bag
from worldtune.data.sources.storage import HUB_PREFIX, HubRepository, LocalStorage
from worldtune.data.sources.zarr.source import ZarrSource, is_zarr
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

MAX_SEARCHED_FILES = 10_000  # files searched for a path to suggest


class Source(Protocol):
    """A place that recordings come from.

    `cameras` are the cameras that the source promises, `available_cameras` those with at least one file. `count` is
    the number of episodes, `tasks` their task texts. `state_names` name the states' columns; empty if unknown.
    `predefined_splits` has the episode names of each split that the source states.
    """

    path: str
    kind: str
    cameras: list[str]
    available_cameras: list[str]
    state_names: list[str]
    predefined_splits: dict[str, frozenset[str]]

    @property
    def count(self) -> int: ...

    @property
    def tasks(self) -> list[str]: ...

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        """Yield every episode of every named camera, in order; unusable ones as SkippedRecording."""
        ...

    def problems(self) -> list[Problem]:
        """Return the contradictions within the metadata, the files or the decoded frames."""
        ...


def open_source(path: str, recorded_fps: float | None = None, columns: Columns = DEFAULT_COLUMNS) -> Source:
    """Return the source at `path`: a folder, a file, `builtin:NAME`, or `hf:OWNER/NAME@REVISION` (Hugging Face Hub).

    `columns` are the columns of a LeRobot dataset to read as states and actions, or the joint-state topics of a ROS
    recording to read as actions. Raise DataError if the source is missing or of no known kind, if its metadata cannot
    be read, or if `recorded_fps` is missing for a source without a rate or given for a source with one.
    """
    storage = HubRepository(path) if path.startswith(HUB_PREFIX) else LocalStorage()
    root = storage.folder if isinstance(storage, HubRepository) else resolve_data_path(path)
    if (root / "meta" / "info.json").is_file():
        source: Source = LeRobotSource(path, root, storage, columns)
    else:
        source = _detect_source(
            path, storage.fetch_all() if isinstance(storage, HubRepository) else root, recorded_fps, columns
        )
    if recorded_fps is not None and not isinstance(
        source, RobomimicSource | AlohaSource | ZarrSource | RldsSource | ImageFolderSource
    ):
        what = f"recorded_fps is given, but {source.kind} states its own frame rate"
        raise DataError(what, where=path, hint="Remove it.")
    of_topics = isinstance(source, RosbagSource) and columns.state is None
    if columns != DEFAULT_COLUMNS and not (isinstance(source, LeRobotSource) or of_topics):
        what = f"data.state and data.action name columns of a LeRobot dataset, but this is {source.kind}"
        raise DataError(what, where=path, hint="Remove them.")
    return source


def open_spec_source(spec: DataSpec) -> Source:
    """Return the source that `spec` names, opened with the spec's settings. Raise DataError as `open_source` does."""
    return open_source(spec.path, spec.recorded_fps, spec.columns)


def _detect_source(path: str, root: Path, recorded_fps: float | None, columns: Columns) -> Source:
    """Return the source of the kind that the file suffixes show. Raise DataError if no kind fits."""
    inside = [root] if root.is_file() else [*root.iterdir()]
    if is_rlds(root):
        return RldsSource(path, root, recorded_fps)
    if is_zarr(root) or any(is_zarr(entry) for entry in inside):
        return ZarrSource(path, root, recorded_fps)
    if arrays := sorted(entry for entry in inside if entry.suffix in HDF5_SUFFIXES):
        return (
            AlohaSource(path, root, recorded_fps, arrays)
            if is_aloha(arrays)
            else RobomimicSource(path, root, recorded_fps)
        )
    if is_bag(root) or any(is_bag(entry) for entry in inside):
        return RosbagSource(path, root, columns.action or ())
    if root.is_dir() and has_videos(root):
        return FolderSource(path, root)
    if root.is_dir() and find_recording_folders(Listing(root)):
        return ImageFolderSource(path, root, recorded_fps)
    raise DataError(
        "not a dataset in a known format: LeRobot (meta/info.json), "
        "videos (videos/*.mp4 with metas/*.txt, or a table), images (EPISODE/*.png), "
        "robomimic or ALOHA (*.hdf5), ROS (*.mcap, *.bag, rosbag2), Zarr (*.zarr, *.zarr.zip), RLDS (features.json)",
        where=path,
        hint=_suggest_path(root),
    )


def _suggest_path(root: Path) -> str:
    """Return a hint with a path nearby that was probably meant."""
    folder = root if root.is_dir() else root.parent
    if is_video(root.name) or root.suffix.lower() in (".csv", ".jsonl"):
        return f"Specify the folder that contains it: {folder}."
    below = sorted(inside.parents[1] for inside in folder.glob("*/meta/info.json"))
    below += sorted(inside.parent for inside in folder.glob("*/features.json"))
    deeper = chain.from_iterable(folder.glob(pattern) for pattern in ("*/*", "*/*/*", "*/*/*/*"))
    below += sorted({video.parent for video in islice(deeper, MAX_SEARCHED_FILES) if is_video(video.name)})
    if not below:
        return "Specify the folder that holds meta/ or videos/, or the file."
    more = f" and {len(below) - 3} more" if len(below) > 3 else ""
    views = " Put folders of one recording's cameras into videos/." if len(below) > 1 else ""
    return f"Datasets found inside: name {', '.join(map(str, below[:3]))}{more}.{views}"


def choose_cameras(source: Source, wanted: Sequence[str] | None) -> list[str]:
    """Return `wanted`, or every camera of the source if it is None. Raise DataError for a camera without files."""
    if wanted is None:
        return source.cameras
    if len(set(wanted)) < len(wanted):
        raise DataError("a camera is named twice", where=source.path, hint="Name it once: its clips would count twice.")
    for camera in wanted:
        if camera not in source.available_cameras:
            matches = get_close_matches(camera, source.available_cameras, n=1)
            hint = f"Did you mean {matches[0]}? " if matches else ""
            available = ", ".join(source.available_cameras) or "none"
            raise DataError(f"no camera {camera}", where=source.path, hint=f"{hint}Available cameras: {available}.")
    return list(wanted)
