"""The episodes a LeRobot dataset promises, the same value for versions 2.0, 2.1 and 3.0.

Formats: github.com/huggingface/lerobot, `lerobot/datasets` of 0.3.2 (2.1) and 0.6.1 (3.0).
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any

from worldtune.episodes.sources.lerobot_files import Record, read_jsonl, read_records
from worldtune.errors import DataError

LARGEST = 2**53
OF_FILE = ("chunk_index", "file_index")
NUMBER = re.compile(r"\d?\d?d?")  # how a template writes one: 06d


@dataclass(frozen=True)
class Span:
    """Where a camera's recording lies: `frames` frames of `video` from frame `start` on."""

    video: Path
    start: int
    frames: int


def same_rate(span: Span, video_fps: float, dataset_fps: float) -> bool:
    """Is the video's rate near the dataset's, and near enough that the span begins at the same frame by both?"""
    ratio = video_fps / dataset_fps
    return abs(ratio - 1) < 0.01 and round(span.start * ratio) == span.start


@dataclass(frozen=True)
class Promise:
    """What the metadata say of one episode. `rows` is its range in the dataset's global index (3.0 only); `session` is
    a column of that name, or `scene`, where the episodes have one."""

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    spans: dict[str, Span]
    rows: tuple[int, int] | None = None
    session: str = ""

    @property
    def name(self) -> str:
        return f"{self.index:06d}"


@contextmanager
def _understood(root: Path) -> Iterator[None]:
    """What is of another kind than it should be, as one line."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise DataError(
            f"the metadata cannot be understood: {error!r}", where=str(root / "meta"), mend="Restore the folder."
        ) from error


def metadata_files(root: Path) -> list[Path]:
    """The files of any version that say what the dataset is, of which not all need be there."""
    names = ("info.json", "tasks.jsonl", "tasks.parquet", "episodes.jsonl", "modality.json")
    return [*(root / "meta" / name for name in names), *_episode_files(root)]


def _episode_files(root: Path) -> list[Path]:
    return sorted((root / "meta" / "episodes").glob("*/*.parquet"))


def read_tasks(root: Path, version: int) -> dict[int, str]:
    """Task texts by task index. Raises DataError when the file cannot be understood."""
    with _understood(root):
        if version == 2:
            records, text = read_jsonl(root / "meta" / "tasks.jsonl", "task_index", "task"), "task"
        else:
            records, text = _tasks_3(root / "meta" / "tasks.parquet")
        return {_whole(record, "task_index"): _text(record[text]) for record in records}


def _tasks_3(path: Path) -> tuple[list[Record], str]:
    """The records, and which column of them has the text: the frame's index, named or not."""
    records = read_records([path], "task_index")
    texts = [name for name in ("task", "__index_level_0__") if records and name in records[0]]
    if records and not texts:
        raise DataError("no column holds the task texts", where=str(path), mend="Restore the file.")
    return records, next(iter(texts), "")


def read_promises(root: Path, info: Record, version: int, cameras: list[str]) -> list[Promise]:
    """Every episode of the metadata, by index. Raises DataError when the files cannot be understood."""
    with _understood(root):
        promises = _version_2(root, info, cameras) if version == 2 else _version_3(root, info, cameras)
    counts = Counter(promise.index for promise in promises)
    if twice := [index for index, count in counts.items() if count > 1]:
        raise DataError(f"episode {twice[0]} is listed twice", where=str(root / "meta"), mend="Restore the folder.")
    return sorted(promises, key=lambda promise: promise.index)


def _whole(record: Record, key: str) -> int:
    """A whole number from 0 on. Raises ValueError for anything else."""
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST or value % 1:
        raise ValueError(f"{key} is {value!r}")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no task text")
    return value


def _texts(record: Record) -> tuple[str, ...]:
    if not isinstance(record["tasks"], list):
        raise TypeError(f"tasks is {record['tasks']!r}")
    return tuple(map(_text, record["tasks"]))


def _place(root: Path, info: Record, key: str, **at: int | str) -> Path:
    """Where a template of info.json leads. Raises ValueError for other fields, and for a path out of the dataset."""
    _refuse_fields(key, info[key], tuple(at))
    path = Path(info[key].format(**at))
    too_long = any(len(part.encode()) > 255 for part in path.parts)
    if path.is_absolute() or ".." in path.parts or "\0" in str(path) or too_long:
        raise ValueError(f"{key} leads to {str(path)!r}, which is no path in the dataset")
    return root / path


@lru_cache(maxsize=16)
def _refuse_fields(key: str, template: str, known: tuple[str, ...]) -> None:
    for _, field, form, conversion in Formatter().parse(template):
        if field is not None and (field not in known or conversion or not NUMBER.fullmatch(form or "")):
            raise ValueError(f"{key} is {template!r}: its fields are {', '.join(known)}")


def _version_2(root: Path, info: Record, cameras: list[str]) -> list[Promise]:
    """One data file and one video a camera for each episode."""
    promises = []
    for record in read_jsonl(root / "meta" / "episodes.jsonl", "episode_index", "length", "tasks"):
        index, length = _whole(record, "episode_index"), _whole(record, "length")
        at = {"episode_chunk": index // info["chunks_size"], "episode_index": index}
        spans = {
            camera: Span(_place(root, info, "video_path", video_key=camera, **at), 0, length) for camera in cameras
        }
        data = _place(root, info, "data_path", **at)
        tasks = _texts(record)
        promises.append(Promise(index, length, tasks, data, spans, session=_session(record)))
    return promises


def _version_3(root: Path, info: Record, cameras: list[str]) -> list[Promise]:
    """Files shared by many episodes; each camera has its own file index and times within that file."""
    paths = _episode_files(root)
    if not paths:
        raise DataError("no episodes are listed", where=str(root / "meta" / "episodes"), mend="Restore the folder.")
    promises = []
    for record in read_records(paths, "episode_index", "length", "tasks", "data/chunk_index", "data/file_index"):
        spans = {camera: _span(root, info, record, camera) for camera in cameras if _filmed(record, camera)}
        data = _place(root, info, "data_path", **{key: _whole(record, f"data/{key}") for key in OF_FILE})
        rows = _whole(record, "dataset_from_index"), _whole(record, "dataset_to_index")
        tasks = _texts(record)
        index, length = _whole(record, "episode_index"), _whole(record, "length")
        promises.append(Promise(index, length, tasks, data, spans, rows, _session(record)))
    return promises


def _session(record: Record) -> str:
    return str(next((record[key] for key in ("session", "scene") if record.get(key) is not None), ""))


def _filmed(record: Record, camera: str) -> bool:
    return record.get(f"videos/{camera}/file_index") is not None


def _span(root: Path, info: Record, record: Record, camera: str) -> Span:
    of_camera = {key: _whole(record, f"videos/{camera}/{key}") for key in OF_FILE}
    start, end = (
        round(record[f"videos/{camera}/{key}"] * float(info["fps"])) for key in ("from_timestamp", "to_timestamp")
    )
    return Span(_place(root, info, "video_path", video_key=camera, **of_camera), start, end - start)
