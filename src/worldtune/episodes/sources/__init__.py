"""Sources are read in place; which kind a folder is shows in its content."""

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Protocol

from worldtune.episodes.builtin import resolve
from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.sources.bags import BagSource, is_bag
from worldtune.episodes.sources.folder import FolderSource
from worldtune.episodes.sources.folder_captions import tables_in
from worldtune.episodes.sources.hdf5 import SUFFIXES, Hdf5Source
from worldtune.episodes.sources.lerobot import LeRobotSource
from worldtune.episodes.sources.shelf import PREFIX, Folder, HubRepository
from worldtune.errors import DataError

Advance = Callable[[int, int], None]
"""Told (done, total) recordings, for a progress bar."""


class Source(Protocol):
    """A place that recordings come from.

    `cameras` are those it promises, `present` those of them that have any file; `count` its
    episodes, `tasks` their task texts. `state_names` are those of the states' columns, none where it does not say them.
    """

    path: str
    kind: str
    cameras: list[str]
    present: list[str]
    state_names: list[str]

    @property
    def count(self) -> int: ...

    @property
    def tasks(self) -> list[str]: ...

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        """Every episode through every named camera, in order; what cannot be used as Lost."""
        ...

    def problems(self) -> list[Problem]:
        """Where the metadata contradict themselves, the files or the decoded frames."""
        ...


def open_source(path: str, recorded_fps: float | None = None) -> Source:
    """The source at `path`: a folder, a file, `builtin:NAME`, or `hf:OWNER/NAME@REVISION` of the Hugging Face Hub.

    Raises DataError when it is missing, of no known kind, its metadata cannot be read, or it states no frame rate and
    `recorded_fps` is not given (or the other way round).
    """
    shelf = HubRepository(path) if path.startswith(PREFIX) else Folder()
    place = shelf.folder if isinstance(shelf, HubRepository) else resolve(path)
    if (place / "meta" / "info.json").is_file():
        source: Source = LeRobotSource(path, place, shelf)
    else:
        source = _of_files(path, shelf.bring_all() if isinstance(shelf, HubRepository) else place, recorded_fps)
    if recorded_fps is not None and not isinstance(source, Hdf5Source):
        what = f"recorded_fps is given, but {source.kind} states its own frame rate"
        raise DataError(what, where=path, mend="Leave it out.")
    return source


def _of_files(path: str, place: Path, recorded_fps: float | None) -> Source:
    """What the files' endings say."""
    inside = [place] if place.is_file() else [*place.iterdir()]
    if any(each.suffix in SUFFIXES for each in inside):
        return Hdf5Source(path, place, recorded_fps)
    if is_bag(place) or any(is_bag(each) for each in inside):
        return BagSource(path, place)
    by_table = place.glob("*/*.mp4") if tables_in(place) else ()
    films = chain((place / "videos").glob("*"), inside, by_table)
    if place.is_dir() and any(each.suffix.lower() == ".mp4" for each in films):
        return FolderSource(path, place)
    raise DataError(
        "no dataset of a known kind: LeRobot (meta/info.json), mp4 (videos/*.mp4 with metas/*.txt, or a table), "
        "robomimic (*.hdf5), ROS (*.mcap, *.bag, rosbag2)",
        where=path,
        mend=_mend(place),
    )


def _mend(place: Path) -> str:
    """What is there that was perhaps meant."""
    folder = place if place.is_dir() else place.parent
    if place.suffix.lower() in (".mp4", ".csv", ".jsonl"):
        return f"Name the folder that it is in: {folder}."
    below = sorted(inside.parents[1] for inside in folder.glob("*/meta/info.json"))
    below += sorted({film.parent for film in folder.glob("*/*.mp4")})
    if not below:
        return "Name the folder that holds meta/ or videos/, or the file."
    more = f" and {len(below) - 3} more" if len(below) > 3 else ""
    return f"There are some in it: name {', '.join(map(str, below[:3]))}{more}."


def read_all(
    source: Source, cameras: Sequence[str], advance: Advance = lambda done, total: None
) -> Iterator[Episode | Lost]:
    """`source.recordings(cameras)`, telling `advance` after each one."""
    total = source.count * len(cameras)
    for done, recording in enumerate(source.recordings(cameras), start=1):
        advance(done, total)
        yield recording


def choose_cameras(source: Source, wanted: Sequence[str] | None) -> list[str]:
    """`wanted`, or every camera the source promises. Raises DataError for one that has no files."""
    if wanted is None:
        return source.cameras
    if len(set(wanted)) < len(wanted):
        raise DataError(
            "a camera is named twice", where=source.path, mend="Its clips would count double: name it once."
        )
    for camera in wanted:
        if camera not in source.present:
            near = get_close_matches(camera, source.present, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            there = ", ".join(source.present) or "none"
            raise DataError(f"no camera {camera}", where=source.path, mend=f"{hint}Cameras there: {there}.")
    return list(wanted)
