"""The episodes a LeRobot dataset promises, the same value for versions 2.0, 2.1 and 3.0.

Formats: github.com/huggingface/lerobot, `lerobot/datasets` of 0.3.2 (2.1) and 0.6.1 (3.0).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldtune.episodes.sources.lerobot_files import Record, read_jsonl, read_records
from worldtune.errors import DataError


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


def read_tasks(root: Path, version: int) -> dict[int, str]:
    """Task texts by task index."""
    if version == 2:
        records = read_jsonl(root / "meta" / "tasks.jsonl", "task_index", "task")
        return {int(record["task_index"]): str(record["task"]) for record in records}
    path = root / "meta" / "tasks.parquet"
    records = read_records([path], "task_index")
    if not records:
        return {}
    texts = [name for name in ("task", "__index_level_0__") if name in records[0]]  # the frame's index, named or not
    if not texts:
        raise DataError("no column holds the task texts", where=str(path), mend="Restore the file.")
    return {int(record["task_index"]): str(record[texts[0]]) for record in records}


def read_promises(root: Path, info: Record, version: int, cameras: list[str]) -> list[Promise]:
    """Every episode of the metadata, by index. Raises DataError when the files cannot be understood."""
    try:
        promises = _version_2(root, info, cameras) if version == 2 else _version_3(root, info, cameras)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"the metadata cannot be understood: {error!r}", where=str(root / "meta"), mend="Restore the folder."
        ) from error
    counts = Counter(promise.index for promise in promises)
    if twice := [index for index, count in counts.items() if count > 1]:
        raise DataError(f"episode {twice[0]} is listed twice", where=str(root / "meta"), mend="Restore the folder.")
    return sorted(promises, key=lambda promise: promise.index)


def _version_2(root: Path, info: Record, cameras: list[str]) -> list[Promise]:
    """One data file and one video a camera for each episode."""
    promises = []
    for record in read_jsonl(root / "meta" / "episodes.jsonl", "episode_index", "length", "tasks"):
        index, length = int(record["episode_index"]), int(record["length"])
        at: dict[str, Any] = {"episode_chunk": index // int(info["chunks_size"]), "episode_index": index}
        spans = {
            camera: Span(root / info["video_path"].format(video_key=camera, **at), 0, length) for camera in cameras
        }
        data = root / info["data_path"].format(**at)
        tasks = tuple(map(str, record["tasks"]))
        promises.append(Promise(index, length, tasks, data, spans, session=_session(record)))
    return promises


def _version_3(root: Path, info: Record, cameras: list[str]) -> list[Promise]:
    """Files shared by many episodes; each camera has its own file index and times within that file."""
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    if not paths:
        raise DataError("no episodes are listed", where=str(root / "meta" / "episodes"), mend="Restore the folder.")
    promises = []
    for record in read_records(paths, "episode_index", "length", "tasks", "data/chunk_index", "data/file_index"):
        spans = {camera: _span(root, info, record, camera) for camera in cameras if _filmed(record, camera)}
        data = info["data_path"].format(chunk_index=record["data/chunk_index"], file_index=record["data/file_index"])
        rows = int(record["dataset_from_index"]), int(record["dataset_to_index"])
        tasks = tuple(map(str, record["tasks"]))
        index, length = int(record["episode_index"]), int(record["length"])
        promises.append(Promise(index, length, tasks, root / data, spans, rows, _session(record)))
    return promises


def _session(record: Record) -> str:
    return str(next((record[key] for key in ("session", "scene") if record.get(key) is not None), ""))


def _filmed(record: Record, camera: str) -> bool:
    return record.get(f"videos/{camera}/file_index") is not None


def _span(root: Path, info: Record, record: Record, camera: str) -> Span:
    of_camera = {key: record[f"videos/{camera}/{key}"] for key in ("chunk_index", "file_index")}
    start, end = (
        round(record[f"videos/{camera}/{key}"] * float(info["fps"])) for key in ("from_timestamp", "to_timestamp")
    )
    return Span(root / info["video_path"].format(video_key=camera, **of_camera), start, end - start)
