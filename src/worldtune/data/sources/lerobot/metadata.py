"""The episodes that a LeRobot dataset lists, in one form for versions 2.0, 2.1 and 3.0.

Formats: github.com/huggingface/lerobot, `lerobot/datasets` of 0.3.2 (2.1) and 0.6.1 (3.0).
"""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from string import Formatter
from typing import Any

from worldtune.data.sources.lerobot.metadata_files import Record, read_jsonl, read_records
from worldtune.errors import DataError

MAX_EXACT_INTEGER = 2**53
FILE_KEYS = ("chunk_index", "file_index")
ROW_RANGE_KEYS = ("dataset_from_index", "dataset_to_index")
NUMBER_PATTERN = re.compile(r"\d?\d?d?")  # a number's format in a template, such as 06d


@dataclass(frozen=True)
class Span:
    """The place of a camera's recording: in `video` from frame `start` on.

    `frames` is the count by to_timestamp, None if there is none; `available_frames` the count until another recording
    begins in the video, None if none does.
    """

    video: Path
    start: int
    frames: int | None = None
    available_frames: int | None = None


def rates_match(span: Span, video_fps: float, dataset_fps: float) -> bool:
    """Return whether the video's rate is near the dataset's, and the span begins at the same frame by both rates."""
    ratio = video_fps / dataset_fps
    return abs(ratio - 1) < 0.01 and round(span.start * ratio) == span.start


@dataclass(frozen=True)
class EpisodeMetadata:
    """The metadata of one episode.

    `tasks` is an unordered set, () if unknown. `rows` is the episode's range in the dataset's global index (3.0 only).
    `session` is the column `session` or `scene`, `split` the column `split`, if the episodes have one.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    spans: dict[str, Span]
    rows: tuple[int, int] | None = None
    session: str = ""
    split: str = ""

    @property
    def name(self) -> str:
        return f"{self.index:06d}"


@contextmanager
def reporting_metadata_errors(root: Path) -> Iterator[None]:
    """Raise DataError, in one line, for metadata of the wrong kind."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise DataError(
            f"the metadata cannot be understood: {error!r}", where=str(root / "meta"), hint="Restore the folder."
        ) from error


def metadata_files(root: Path) -> list[Path]:
    """Return the possible metadata files of any version; some of them may be missing."""
    names = ("info.json", "tasks.jsonl", "tasks.parquet", "episodes.jsonl", "modality.json")
    return [*(root / "meta" / name for name in names), *_episode_files(root)]


def _episode_files(root: Path) -> list[Path]:
    return sorted((root / "meta" / "episodes").glob("*/*.parquet"))


def read_episode_metadata(root: Path, info: Record, version: int, cameras: list[str]) -> list[EpisodeMetadata]:
    """Return every episode of the metadata, by index. Raise DataError if the files cannot be understood."""
    with reporting_metadata_errors(root):
        episode_metadata = (
            _read_version_2(root, info, cameras) if version == 2 else _read_version_3(root, info, cameras)
        )
    counts = Counter(metadata.index for metadata in episode_metadata)
    if duplicates := [index for index, count in counts.items() if count > 1]:
        raise DataError(
            f"episode {duplicates[0]} is listed twice", where=str(root / "meta"), hint="Restore the folder."
        )
    return sorted(_with_available_frames(episode_metadata), key=lambda metadata: metadata.index)


def read_episode_records(root: Path, version: int) -> list[Record]:
    """Return the list of episodes with all its columns but the statistics. Raise DataError if it cannot be read."""
    if version == 2:
        return read_jsonl(root / "meta" / "episodes.jsonl", "episode_index")
    return read_records(_episode_files(root), "episode_index")


def _with_available_frames(episode_metadata: list[EpisodeMetadata]) -> list[EpisodeMetadata]:
    starts: dict[Path, set[int]] = defaultdict(set)
    for span in (span for metadata in episode_metadata for span in metadata.spans.values()):
        starts[span.video].add(span.start)
    starts_by_video = {video: sorted(frames) for video, frames in starts.items()}

    def bounded(span: Span) -> Span:
        later = starts_by_video[span.video][bisect_right(starts_by_video[span.video], span.start) :]
        return replace(span, available_frames=later[0] - span.start) if later else span

    return [
        replace(metadata, spans={camera: bounded(span) for camera, span in metadata.spans.items()})
        for metadata in episode_metadata
    ]


def read_whole_number(record: Record, key: str) -> int:
    """Return a whole number from 0 on. Raise ValueError for anything else."""
    value = record[key]
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= MAX_EXACT_INTEGER
        or value % 1
    ):
        raise ValueError(f"{key} is {value!r}")
    return int(value)


def read_task_text(value: Any) -> str:
    """Return a task text. Raise TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a task text")
    return value


def _task_texts(record: Record) -> tuple[str, ...]:
    """Return the column `tasks`; it is optional, since rows name tasks too: lerobot/libero has none (issue 4519)."""
    tasks = record.get("tasks")
    if isinstance(tasks, str):
        return (tasks,)
    if tasks is not None and not isinstance(tasks, list):
        raise TypeError(f"tasks is {tasks!r}")
    return tuple(map(read_task_text, tasks or []))


def _resolve_path(root: Path, info: Record, key: str, **path_fields: int | str) -> Path:
    """Return the path by a template of info.json. Raise ValueError for other fields, or a path outside the dataset."""
    _check_fields(key, info[key], tuple(path_fields))
    path = Path(info[key].format(**path_fields))
    too_long = any(len(part.encode()) > 255 for part in path.parts)
    if path.is_absolute() or ".." in path.parts or "\0" in str(path) or too_long:
        raise ValueError(f"{key} leads to {str(path)!r}, which is not a path in the dataset")
    return root / path


@lru_cache(maxsize=16)
def _check_fields(key: str, template: str, known: tuple[str, ...]) -> None:
    for _, field, form, conversion in Formatter().parse(template):
        if field is not None and (field not in known or conversion or not NUMBER_PATTERN.fullmatch(form or "")):
            raise ValueError(f"{key} is {template!r}: its fields must be {', '.join(known)}")


def _read_version_2(root: Path, info: Record, cameras: list[str]) -> list[EpisodeMetadata]:
    """Read the episodes, each with one data file and one video per camera."""
    episode_metadata = []
    for record in read_jsonl(root / "meta" / "episodes.jsonl", "episode_index", "length"):
        index = read_whole_number(record, "episode_index")
        path_fields = {"episode_chunk": index // info["chunks_size"], "episode_index": index}
        spans = {
            camera: Span(_resolve_path(root, info, "video_path", video_key=camera, **path_fields), 0)
            for camera in cameras
        }
        episode_metadata.append(_parse_episode(record, _resolve_path(root, info, "data_path", **path_fields), spans))
    return episode_metadata


def _read_version_3(root: Path, info: Record, cameras: list[str]) -> list[EpisodeMetadata]:
    """Read episodes that share files; each camera has its own file index and times within that file."""
    paths = _episode_files(root)
    if not paths:
        raise DataError("no episodes are listed", where=str(root / "meta" / "episodes"), hint="Restore the folder.")
    episode_metadata = []
    for record in read_records(paths, "episode_index", "length"):
        spans = {camera: _span(root, info, record, camera) for camera in cameras if _has_video(record, camera)}
        rows = tuple(read_whole_number(record, key) for key in ROW_RANGE_KEYS if record.get(key) is not None)
        episode_metadata.append(
            _parse_episode(record, _data_file(root, info, record), spans, rows if len(rows) == 2 else None)
        )
    return episode_metadata


def _parse_episode(
    record: Record, data: Path, spans: dict[str, Span], rows: tuple[int, int] | None = None
) -> EpisodeMetadata:
    index, length = read_whole_number(record, "episode_index"), read_whole_number(record, "length")
    split = record.get("split")
    split_name = split if isinstance(split, str) else ""
    return EpisodeMetadata(index, length, _task_texts(record), data, spans, rows, _session(record), split_name)


def _data_file(root: Path, info: Record, record: Record) -> Path:
    """Return the episode's data file; if the record names none, the only data file, because lerobot reads all."""
    if all(record.get(f"data/{key}") is not None for key in FILE_KEYS):
        return _resolve_path(
            root, info, "data_path", **{key: read_whole_number(record, f"data/{key}") for key in FILE_KEYS}
        )
    files = list((root / "data").glob("*/*.parquet"))
    if len(files) != 1:
        raise ValueError(f"a record has no 'data/file_index', and there are {len(files)} data files")
    return files[0]


def _session(record: Record) -> str:
    return str(next((record[key] for key in ("session", "scene") if record.get(key) is not None), ""))


def _has_video(record: Record, camera: str) -> bool:
    return record.get(f"videos/{camera}/file_index") is not None


def _span(root: Path, info: Record, record: Record, camera: str) -> Span:
    """Return the camera's span; lerobot reads a frame at from_timestamp + its row's timestamp, never to_timestamp."""
    path_fields = {key: read_whole_number(record, f"videos/{camera}/{key}") for key in FILE_KEYS}
    fps, end = float(info["fps"]), record.get(f"videos/{camera}/to_timestamp")
    start = round(record[f"videos/{camera}/from_timestamp"] * fps)
    frames = round(end * fps) - start if isinstance(end, int | float) and isfinite(end) else None
    return Span(_resolve_path(root, info, "video_path", video_key=camera, **path_fields), start, frames)
