"""A table with the captions of a folder's videos, and with the episode and camera of each."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from worldtune.data.sources.folder.listing import VIDEO_FOLDER, Listing, is_video, join_path
from worldtune.data.sources.lerobot.metadata_files import read_jsonl
from worldtune.data.sources.text_file import read_text
from worldtune.errors import DataError

VIDEO_COLUMNS, PROMPT_COLUMNS = ("video", "file_name", "path"), ("prompt", "caption", "text")
TASK, SESSION, EPISODE, CAMERA = OPTIONAL_COLUMNS = ("task", "session", "episode", "camera")


class CaptionTable:
    """A table with a header: a column of videos, one of prompts, and optionally tasks, sessions, episodes, cameras.

    It is a CSV file, separated by commas, semicolons or tabs, whichever its first line has most of. A prompt without
    quotes may contain the separator if it is in the last column. Or it is `metadata.jsonl`, one object per line. Videos
    of one episode are its views by several cameras.
    """

    kind = "folder with a table of prompts"

    def __init__(self, listing: Listing, name: str) -> None:
        self._listing, self._name, self._table = listing, name, listing.folder / name
        rows = [row for row in self._rows() if any(row)]
        header = _header(rows)
        video, prompt = (self._column(header, names) for names in (VIDEO_COLUMNS, PROMPT_COLUMNS))
        others = {name: header.index(name) for name in OPTIONAL_COLUMNS if name in header}
        self._captions: dict[str, str] = {}
        self._values: dict[str, dict[str, str]] = {}
        views: set[tuple[str, str]] = set()
        for number, row in enumerate(rows[1:], 2):
            if len(row) < len(header) or (len(row) > len(header) and prompt < len(header) - 1):
                raise self._table_error(f"row {number} has {len(row)} cells, the header {len(header)}")
            cells = [cell.strip() for cell in (*row[: len(header) - 1], ",".join(row[len(header) - 1 :]))]
            path = self._find_video(cells[video], number)
            if path in self._captions:
                raise self._table_error(f"row {number} names {cells[video]} again")
            self._captions[path] = cells[prompt]
            self._values[path] = values = {name: cells[place] for name, place in others.items()}
            view = values.get(EPISODE, ""), values.get(CAMERA, "")
            if view[0] and view in views:
                what = f"row {number} names episode {view[0]} again" + (f" with camera {view[1]}" if view[1] else "")
                raise DataError(what, where=str(self._table), hint="Name the camera of each view, or another episode.")
            views.add(view)

    def _rows(self) -> list[list[str]]:
        return _rows_of(self._table)

    def _column(self, header: list[str], names: tuple[str, ...]) -> int:
        for name in names:
            if name in header:
                return header.index(name)
        raise self._table_error(f"it has no column {' or '.join(names)}, but {', '.join(header) or 'nothing'}")

    def _find_video(self, name: str, number: int) -> str:
        """Return the video's path from the folder: the table may leave out `videos/` and the extension."""
        for written in (name, name.replace("\\", "/")):  # Windows writes backslashes
            inner = os.path.normpath(
                os.path.relpath(written, self._listing.folder) if os.path.isabs(written) else written
            )
            if ".." in inner.split("/"):
                continue
            for path in (inner, join_path(VIDEO_FOLDER, inner)):
                folder, last = os.path.split(path)
                entries = self._listing.entries(folder)
                if last in (*entries.files, *entries.folders):
                    return path
                matches = [video for video in entries.videos if _refers_to(video, last)]
                if len(matches) > 1:
                    raise self._table_error(f"row {number} names {name}, which may be {' or '.join(matches)}")
                if matches:
                    return join_path(folder, matches[0])
        return name

    def _table_error(self, what: str) -> DataError:
        return DataError(
            what, where=str(self._table), hint="Correct the table: a header such as video,prompt and a row per video."
        )

    @property
    def caption_files(self) -> set[str]:
        return {self._name}

    def caption(self, video: str) -> str:
        return self._captions.get(video, "")

    def _value(self, video: str, name: str) -> str:
        return self._values.get(video, {}).get(name, "")

    def task(self, video: str) -> str:
        return self._value(video, TASK)

    def session(self, video: str) -> str:
        return self._value(video, SESSION)

    def episode(self, video: str) -> str:
        return self._value(video, EPISODE)

    def camera(self, video: str) -> str:
        return self._value(video, CAMERA)

    def location(self, video: str) -> str:
        return self._name

    def files(self, video: str) -> list[Path]:
        return [self._table] if video in self._captions else []

    def captions_without_video(self, videos: set[str]) -> dict[str, str]:
        return {name: self._missing_reason(name) for name in self._captions if name not in videos}

    def videos_outside_listing(self) -> list[str]:
        known = set(self._listing.videos)
        return [name for name in self._captions if name not in known and is_video(name) and self._is_listed(name)]

    def _is_listed(self, name: str) -> bool:
        folder, last = os.path.split(name)
        return is_within(name) and last in self._listing.entries(folder).files

    def _missing_reason(self, name: str) -> str:
        exists = os.path.lexists(self._listing.folder / name)
        if exists and not self._is_listed(name):
            return f"named in {self._name}, but outside the folder"
        if exists:
            return f"named in {self._name}, but not a video"
        return f"named in {self._name}, but missing (searched in the folder and in videos/, with any video's extension)"


def has_columns(listing: Listing, name: str) -> bool:
    """Return whether the table has a column of videos and one of prompts. Raise DataError if it cannot be read."""
    header = set(_header(_rows_of(listing.folder / name)))
    return not (header.isdisjoint(VIDEO_COLUMNS) or header.isdisjoint(PROMPT_COLUMNS))


def _header(rows: Sequence[Sequence[str]]) -> list[str]:
    return [cell.strip().lower() for cell in next((row for row in rows if any(row)), ())]


def _rows_of(table: Path) -> list[list[str]]:
    if table.suffix.lower() == ".jsonl":
        records = read_jsonl(table)
        header = list(dict.fromkeys(key for record in records for key in record))
        return [header, *([str(record.get(key, "")) for key in header] for record in records)]
    text = read_text(table)
    first = text.partition("\n")[0]
    try:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=max(",;\t", key=first.count)))
    except csv.Error as error:
        hint = "Correct the table: a header such as video,prompt and a row per video."
        raise DataError(f"not a table: {error}", where=str(table), hint=hint) from error


def _refers_to(video: str, name: str) -> bool:
    """Return whether a table means the video by that name: without extension, or in another case."""
    return name == os.path.splitext(video)[0] or name.casefold() == video.casefold()


def is_within(name: str) -> bool:
    """Return whether the path, as written, stays in the folder."""
    return not os.path.isabs(name) and ".." not in name.split("/")
