"""Where a folder of videos has its captions, and what they are.

`metas/X.txt` and `captions/X.json` beside `videos/X.mp4` are the Cosmos training folder
(github.com/nvidia-cosmos/cosmos-predict2.5, documentation of post-training datasets); a table of videos and prompts is
how GR1's public datasets come (huggingface.co/datasets/nvidia/GR1-100, `metadata.csv`).
"""

import csv
import io
import os
from itertools import chain
from pathlib import Path
from typing import Protocol

from worldtune.episodes.sources.lerobot_files import parse_json, read_jsonl, read_text
from worldtune.episodes.sources.links import as_text
from worldtune.errors import DataError

VIDEO, PROMPT, TASK, SESSION = ("video", "file_name", "path"), ("prompt", "caption", "text"), "task", "session"


class Captions(Protocol):
    """What a folder says of its videos. A video is named by its path from the folder, as `videos/X.mp4`."""

    kind: str

    def caption(self, video: str) -> str:
        """The caption, "" where there is none. Raises DataError when its file cannot be read."""
        ...

    def task(self, video: str) -> str: ...

    def session(self, video: str) -> str: ...

    def place(self, video: str) -> str:
        """Where the caption is, or would be."""
        ...

    def files(self, video: str) -> list[Path]:
        """The file that its caption is read from, none where there is no caption."""
        ...

    def elsewhere(self) -> list[str]:
        """The videos that it names and that are neither at the folder's top nor in videos/."""
        ...

    def without_video(self, videos: set[str]) -> dict[str, str]:
        """The captions of videos that are not among those that are there: the name of each, and why it is lost."""
        ...


def find_captions(folder: Path) -> Captions:
    """`captions/*.json` if there are any, as NVIDIA's loader has it; then `metas/*.txt`; a table; a text by each video.

    Raises DataError when there are several tables, or the one cannot be read.
    """
    if any((folder / "captions").glob("*.json")):
        return JsonCaptions(folder)
    if any((folder / "metas").glob("*.txt")):
        return TextCaptions(folder)
    tables = tables_in(folder)
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise DataError(f"there are several tables: {names}", where=str(folder), mend="Leave the one with the prompts.")
    if tables:
        return TableOfCaptions(tables[0])
    beside = chain.from_iterable(map(folder.glob, TextsBeside.patterns))
    return TextsBeside(folder) if any(text.with_suffix(".mp4").is_file() for text in beside) else TextCaptions(folder)


def tables_in(folder: Path) -> list[Path]:
    """The files that may say which videos there are and what they show."""
    return sorted([*folder.glob("*.csv"), *folder.glob("metadata.jsonl")])


class TextCaptions:
    """`metas/X.txt`."""

    kind = "Cosmos folder"
    inside, suffix = "metas", ".txt"
    patterns: tuple[str, ...] = ("metas/*.txt",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = sorted(chain.from_iterable(map(folder.glob, self.patterns)))
        self._files = {as_text(str(file.relative_to(folder))): file for file in files}

    def caption(self, video: str) -> str:
        return "".join(read_text(file).strip() for file in self.files(video))

    def task(self, video: str) -> str:
        return ""

    def session(self, video: str) -> str:
        return ""

    def place(self, video: str) -> str:
        return f"{self.inside}/{Path(video).stem}{self.suffix}"

    def files(self, video: str) -> list[Path]:
        file = self._files.get(self.place(video))
        return [file] if file else []

    def elsewhere(self) -> list[str]:
        return []

    def without_video(self, videos: set[str]) -> dict[str, str]:
        known = {self.place(video) for video in videos}
        return {name: "a caption without a video" for name in self._files if name not in known}


class TextsBeside(TextCaptions):
    """`X.txt` beside `X.mp4`, as other trainers have it."""

    kind = "videos with a text beside each"
    patterns: tuple[str, ...] = ("*.txt", "videos/*.txt")

    def place(self, video: str) -> str:
        return str(Path(video).with_suffix(self.suffix))

    def without_video(self, videos: set[str]) -> dict[str, str]:
        return {}  # a text of another name may be anything: a licence, a list


class JsonCaptions(TextCaptions):
    """`captions/X.json`: by the model that wrote it and by length; of both the first, as NVIDIA's loader takes it."""

    kind = "Cosmos folder with captions/*.json"
    inside, suffix = "captions", ".json"
    patterns = ("captions/*.json",)

    def caption(self, video: str) -> str:
        text = super().caption(video)
        file = self._folder / self.place(video)
        found = parse_json(file, text) if text else ""
        while isinstance(found, dict) and found:
            found = next(iter(found.values()))
        if not isinstance(found, str):
            raise DataError("there is no caption in it", where=str(file), mend='Write {"model": {"long": "…"}}.')
        return found.strip()


class TableOfCaptions:
    """A table with a header: a column of videos, one of prompts, and if you like one of tasks, one of sessions.

    It is a CSV file, its cells separated by what its first line has most of: commas, semicolons or tabs; a prompt that
    is not quoted may have them in it if it is the last column. Or it is `metadata.jsonl`, an object a line.
    """

    kind = "folder with a table of prompts"

    def __init__(self, table: Path) -> None:
        self._table = table
        rows = [row for row in self._rows() if any(row)]
        header = [cell.strip().lower() for cell in rows[0]] if rows else []
        video, prompt = (self._column(header, names) for names in (VIDEO, PROMPT))
        task, session = (header.index(name) if name in header else None for name in (TASK, SESSION))
        self._captions: dict[str, str] = {}
        self._tasks: dict[str, str] = {}
        self._sessions: dict[str, str] = {}
        for number, row in enumerate(rows[1:], 2):
            if len(row) < len(header) or (len(row) > len(header) and prompt < len(header) - 1):
                raise self._fault(f"row {number} has {len(row)} cells, the header {len(header)}")
            cells = [*row[: len(header) - 1], ",".join(row[len(header) - 1 :])]
            name = self._find(cells[video].strip())
            if name in self._captions:
                raise self._fault(f"row {number} names {cells[video].strip()} again")
            self._captions[name] = cells[prompt].strip()
            self._tasks[name] = cells[task].strip() if task is not None else ""
            self._sessions[name] = cells[session].strip() if session is not None else ""

    def _rows(self) -> list[list[str]]:
        if self._table.suffix == ".jsonl":
            records = read_jsonl(self._table)
            header = list(dict.fromkeys(key for record in records for key in record))
            return [header, *([str(record.get(key, "")) for key in header] for record in records)]
        text = read_text(self._table)
        first = text.partition("\n")[0]
        try:
            separated = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=max(",;\t", key=first.count))
            return list(separated)
        except csv.Error as error:
            raise self._fault(f"not a table: {error}") from error

    def _column(self, header: list[str], names: tuple[str, ...]) -> int:
        for name in names:
            if name in header:
                return header.index(name)
        raise self._fault(f"it has no column {' or '.join(names)}, but {', '.join(header) or 'nothing'}")

    def _find(self, name: str) -> str:
        """The video's path from the folder: the table may leave out `videos/` and the ending."""
        folder = self._table.parent
        for said in (name, name.replace("\\", "/")):  # as Windows writes it
            for each in (f"{inside}{said}{ending}" for inside in ("", "videos/") for ending in ("", ".mp4")):
                if os.path.isfile(folder / each):
                    file = (folder / each).absolute()
                    return str(file.relative_to(folder.absolute()) if is_within(file, folder) else Path(each))
        return name

    def _fault(self, what: str) -> DataError:
        return DataError(what, where=str(self._table), mend="Correct the table: video,prompt and a row for each.")

    def caption(self, video: str) -> str:
        return self._captions.get(video, "")

    def task(self, video: str) -> str:
        return self._tasks.get(video, "")

    def session(self, video: str) -> str:
        return self._sessions.get(video, "")

    def place(self, video: str) -> str:
        return self._table.name

    def files(self, video: str) -> list[Path]:
        return [self._table] if video in self._captions else []

    def without_video(self, videos: set[str]) -> dict[str, str]:
        return {name: self._why_lost(name) for name in self._captions if name not in videos}

    def elsewhere(self) -> list[str]:
        films = [name for name in self._captions if name.lower().endswith(".mp4") and self._is_within(name)]
        near = ("", "videos")
        return [name for name in films if str(Path(name).parent).strip(".") not in near and self._is_there(name)]

    def _is_within(self, name: str) -> bool:
        return is_within(self._table.parent / name, self._table.parent)

    def _is_there(self, name: str) -> bool:
        return os.path.isfile(self._table.parent / name)

    def _why_lost(self, name: str) -> str:
        if self._is_there(name) and not self._is_within(name):
            return f"named in {self._table.name}, but outside of the folder"
        return f"named in {self._table.name}, but {'no mp4' if self._is_there(name) else 'not there'}"


def is_within(file: Path, folder: Path) -> bool:
    """Does the path lead to a place in the folder, as it is written?"""
    return ".." not in file.parts and file.absolute().is_relative_to(folder.absolute())
