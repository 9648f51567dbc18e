"""Sources are read in place; which kind a folder is shows in its content."""

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Protocol

from worldtune.episodes.builtin import resolve
from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.sources.folder import FolderSource
from worldtune.episodes.sources.lerobot import LeRobotSource
from worldtune.errors import DataError

Advance = Callable[[int, int], None]
"""Told (done, total) recordings, for a progress bar."""


class Source(Protocol):
    """A place that recordings come from.

    `cameras` are those it promises, `present` those of them that have any file; `count` its
    episodes, `tasks` their task texts.
    """

    path: str
    kind: str
    cameras: list[str]
    present: list[str]

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


def open_source(path: str) -> Source:
    """The source at `path` (a folder, or `builtin:NAME`).

    Raises DataError when the folder is missing, of no known kind, or its metadata cannot be read.
    """
    folder = resolve(path)
    if (folder / "meta" / "info.json").is_file():
        return LeRobotSource(path, folder)
    if any(path.suffix.lower() == ".mp4" for path in chain((folder / "videos").glob("*"), folder.glob("*"))):
        return FolderSource(path, folder)
    raise DataError(
        "neither a LeRobot dataset (meta/info.json) nor a folder of mp4 (videos/*.mp4 with metas/*.txt, or a table)",
        where=path,
        mend="Name the folder that holds meta/ or videos/.",
    )


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
