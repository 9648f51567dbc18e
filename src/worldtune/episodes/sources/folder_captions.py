"""Where a folder of videos has its captions, and what they are.

`metas/X.txt` and `captions/X.json` beside `videos/X.mp4` are the Cosmos training folder
(github.com/nvidia-cosmos/cosmos-predict2.5, documentation of post-training datasets); a table of videos and prompts is
how GR1's public datasets come (huggingface.co/datasets/nvidia/GR1-100, `metadata.csv`).
"""

import csv
import io
import os
from pathlib import Path
from typing import Protocol

from worldtune.episodes.sources.lerobot_files import parse_json, read_text
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

    def without_video(self, videos: set[str]) -> dict[str, str]:
        """The captions of videos that are not among those that are there: the name of each, and why it is lost."""
        ...


def find_captions(folder: Path) -> Captions:
    """`captions/*.json` if there are any, as NVIDIA's loader has it; then `metas/*.txt`; then a table.

    Raises DataError when there are several tables, or the one cannot be read.
    """
    if any((folder / "captions").glob("*.json")):
        return JsonCaptions(folder)
    if any((folder / "metas").glob("*.txt")):
        return TextCaptions(folder)
    tables = sorted(folder.glob("*.csv"))
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise DataError(f"there are several tables: {names}", where=str(folder), mend="Leave the one with the prompts.")
    return TableOfCaptions(tables[0]) if tables else TextCaptions(folder)


class TextCaptions:
    """`metas/X.txt`."""

    kind = "Cosmos folder"
    inside, suffix = "metas", ".txt"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = sorted((folder / self.inside).glob(f"*{self.suffix}"))
        self._files = {f"{self.inside}/{as_text(file.name)}": file for file in files}

    def caption(self, video: str) -> str:
        file = self._files.get(self.place(video))
        return read_text(file).strip() if file else ""

    def task(self, video: str) -> str:
        return ""

    def session(self, video: str) -> str:
        return ""

    def place(self, video: str) -> str:
        return f"{self.inside}/{Path(video).stem}{self.suffix}"

    def without_video(self, videos: set[str]) -> dict[str, str]:
        known = {self.place(video) for video in videos}
        return {name: "a caption without a video" for name in self._files if name not in known}


class JsonCaptions(TextCaptions):
    """`captions/X.json`: by the model that wrote it and by length; of both the first, as NVIDIA's loader takes it."""

    kind = "Cosmos folder with captions/*.json"
    inside, suffix = "captions", ".json"

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
    """A CSV file with a header: a column of videos, one of prompts, and if you like one of tasks, one of sessions.

    A prompt that is not quoted may have commas in it, if it is the last column.
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
            cells = [*row[: len(header) - 1], ",".join(row[len(header) - 1 :])]
            if len(row) < len(header):
                raise self._fault(f"row {number} has {len(row)} of {len(header)} cells")
            name = self._find(cells[video].strip())
            if name in self._captions:
                raise self._fault(f"row {number} names {cells[video].strip()} again")
            self._captions[name] = cells[prompt].strip()
            self._tasks[name] = cells[task].strip() if task is not None else ""
            self._sessions[name] = cells[session].strip() if session is not None else ""

    def _rows(self) -> list[list[str]]:
        try:
            return list(csv.reader(io.StringIO(read_text(self._table), newline=""), strict=True))
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
        for each in (f"{inside}{name}{ending}" for inside in ("", "videos/") for ending in ("", ".mp4")):
            if os.path.isfile(folder / each):
                return str(Path(each))
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

    def without_video(self, videos: set[str]) -> dict[str, str]:
        return {name: f"named in {self._table.name}, but not there" for name in self._captions if name not in videos}
