"""A listing of a folder of videos, made once; it tells videos, texts and tables apart."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path

from worldtune.data.episode import Problem
from worldtune.data.sources.path_checks import displayable_name
from worldtune.data.video.video_file import VIDEO_EXTENSIONS
from worldtune.errors import DataError

VIDEO_FOLDER, CAPTION_FOLDERS = "videos", ("metas", "captions")
MAX_SHOWN_NAMES = 3  # names that a warning about many shows
APPLE_DOUBLE = "._"  # macOS writes such a file beside each file on a foreign disk


@dataclass(frozen=True)
class Entries:
    """The names in one folder, sorted. A broken link counts as a file, and so does a folder with a video's name."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    @cached_property
    def videos(self) -> tuple[str, ...]:
        return tuple(name for name in self.files if is_video(name))


class Listing:
    """The entries of a folder and its subfolders; each is read once, when it is first needed.

    Paths are relative to the folder, with "/". Names that begin with a dot are hidden: no tool means them as data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = cache(self._entries)

    def _entries(self, inside: str = "") -> Entries:
        """Return the entries of the folder at that path, empty if there is no such folder."""
        try:
            found = sorted(os.scandir(self.folder / inside), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return Entries()
        except OSError as error:
            what = f"the folder cannot be read: {error.strerror}"
            where = str(self.folder / inside)
            raise DataError(what, where=where, hint="Make the folder readable.") from error
        names = {entry.name: entry.is_dir() and not is_video(entry.name) for entry in found}
        shown = {name: is_folder for name, is_folder in names.items() if not name.startswith(".")}
        return Entries(
            tuple(name for name, is_folder in shown.items() if not is_folder),
            tuple(name for name, is_folder in shown.items() if is_folder),
            tuple(name for name in names if name.startswith(".") and not name.startswith(APPLE_DOUBLE)),
        )

    @cached_property
    def inside(self) -> str:
        """`videos` if the videos are there or in its subfolders, "" if they are at the folder's top."""
        here = self.entries(VIDEO_FOLDER)
        deeper = (self.entries(f"{VIDEO_FOLDER}/{name}").videos for name in here.folders)
        return VIDEO_FOLDER if here.videos or any(deeper) else ""

    @cached_property
    def cameras(self) -> tuple[str, ...]:
        """The folders of `videos/CAMERA/NAME.mp4`, by their names."""
        if self.inside != VIDEO_FOLDER:
            return ()
        return tuple(
            name for name in self.entries(VIDEO_FOLDER).folders if self.entries(f"{VIDEO_FOLDER}/{name}").videos
        )

    @cached_property
    def video_folders(self) -> tuple[str, ...]:
        """The folders with the videos."""
        return (self.inside, *(f"{VIDEO_FOLDER}/{camera}" for camera in self.cameras))

    @cached_property
    def videos(self) -> tuple[str, ...]:
        """The paths of the videos, whatever their container."""
        return tuple(join_path(place, name) for place in self.video_folders for name in self.entries(place).videos)

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """The files that may list the videos and what they show."""
        names = self.entries("").files
        return tuple(name for name in names if extension(name) == ".csv" or name.lower() == "metadata.jsonl")

    def texts(self, inside: str, suffix: str) -> tuple[str, ...]:
        """Return the paths of the files with that extension in a folder."""
        return tuple(join_path(inside, name) for name in self.entries(inside).files if extension(name) == suffix)

    def find_unread(self, read: set[str]) -> dict[str, list[str]]:
        """Return the paths among the data that are not in `read`, by what they are."""
        found: dict[str, list[str]] = {}
        for what, path in chain(self._beside(), self._above(), self._below()):
            if path not in read:
                found.setdefault(what, []).append(path)
        return found

    def _beside(self) -> Iterator[tuple[str, str]]:
        for place in self.video_folders:
            here = self.entries(place)
            yield from (("not a video", join_path(place, name)) for name in here.files if not is_video(name))
            yield from (("a hidden video", join_path(place, name)) for name in here.hidden if is_video(name))

    def _above(self) -> Iterator[tuple[str, str]]:
        if self.inside:
            yield from (("a video outside of videos/", name) for name in self.entries("").videos)
            yield from (("a table beside other captions", name) for name in self.tables)
        for place in CAPTION_FOLDERS:
            yield from (("not a caption", join_path(place, name)) for name in self.entries(place).files)

    def _below(self) -> Iterator[tuple[str, str]]:
        for folder in (join_path(place, name) for place in self.video_folders for name in self.entries(place).folders):
            inner = self.entries(folder).videos
            if folder not in self.video_folders:
                yield from (("a video in a subfolder", join_path(folder, name)) for name in inner)
            if self.inside and not inner:
                yield "a folder without videos", folder


def has_videos(folder: Path) -> bool:
    """Return whether a folder has videos, or a table and videos in the folders below it."""
    listing = Listing(folder)
    below = listing.entries("").folders if listing.tables else ()
    return bool(listing.inside or listing.entries("").videos) or any(listing.entries(name).videos for name in below)


def is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_EXTENSIONS)


def extension(name: str) -> str:
    """Return the file's extension in lower case, such as ".mp4"."""
    return os.path.splitext(name)[1].lower()


def strip_extension(path: str) -> str:
    """Return the path of a video without its extension; any other path as it is."""
    return path[: path.rindex(".")] if is_video(path) else path


def join_path(inside: str, name: str) -> str:
    return f"{inside}/{name}" if inside else name


def summarize_warning(names: Sequence[str], what: str) -> Problem:
    """Return one warning about several names; it shows the first of them and counts the others."""
    shown = [displayable_name(name) for name in names[:MAX_SHOWN_NAMES]]
    more = f" and {len(names) - MAX_SHOWN_NAMES} more" if len(names) > MAX_SHOWN_NAMES else ""
    return Problem("warning", ", ".join(shown) + more, what)
