"""Where a LeRobot dataset's files lie and what its metadata say, in versions 3.0 and 2.1.

Formats: github.com/huggingface/lerobot, `lerobot/datasets` of 0.6.1 (3.0) and 0.3.2 (2.1); `meta/modality.json` of
github.com/NVIDIA/Isaac-GR00T, "Robot data conversion guide". One file an episode is legal in 3.0 too (file index =
episode) and keeps from_timestamp at 0, clear of its known drift (lerobot issue 3177).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.episodes.statistics import Statistics
from worldtune.errors import DataError
from worldtune.files import write_json

Version = Literal["v3.0", "v2.1"]
FILES_PER_CHUNK = 1000
BASIC = ("min", "max", "mean", "std", "count")  # the statistics that 2.1 knows
Groups = Mapping[Literal["state", "action"], Mapping[str, tuple[int, int]]]
"""What GR00T calls the parts of a state or an action: name → first and last-but-one dimension."""


@dataclass(frozen=True)
class Written:
    """An episode as it was written: its rows are `first` … first + length - 1 of the dataset's."""

    index: int
    first: int
    length: int
    task: str
    statistics: dict[str, Statistics]


class Version3:
    """Parquet metadata: `meta/episodes`, `meta/tasks.parquet`, `meta/stats.json`."""

    data_path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

    def place(self, episode: int) -> dict[str, int]:
        """The fields of the paths."""
        chunk, file = divmod(episode, FILES_PER_CHUNK)
        return {"chunk_index": chunk, "file_index": file}

    def describe(self, root: Path, episodes: Sequence[Written], tasks: Mapping[str, int], info: dict[str, Any]) -> None:
        """Write what is beside info.json."""
        cameras, fps = _cameras(info), info["fps"]
        records = [self._record(episode, cameras, fps) for episode in episodes]
        write_table(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(records))
        write_table(root / "meta/tasks.parquet", _task_table(tasks))

    def _record(self, episode: Written, cameras: Sequence[str], fps: float) -> dict[str, Any]:
        record: dict[str, Any] = {
            "episode_index": episode.index,
            "tasks": [episode.task],
            "length": episode.length,
            "dataset_from_index": episode.first,
            "dataset_to_index": episode.first + episode.length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for kind in ("data", *(f"videos/{camera}" for camera in cameras)):
            record |= {f"{kind}/{key}": value for key, value in self.place(episode.index).items()}
        for camera in cameras:
            record |= {f"videos/{camera}/from_timestamp": 0.0, f"videos/{camera}/to_timestamp": episode.length / fps}
        for name, of in episode.statistics.items():
            record |= {f"stats/{name}/{key}": value.tolist() for key, value in of.items()}
        return record

    def totals(self, episodes: int, cameras: int) -> dict[str, int]:
        """What info.json counts besides."""
        return {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}


class Version2:
    """JSON lines: `meta/episodes.jsonl`, `episodes_stats.jsonl`, `tasks.jsonl`; and GR00T's `modality.json`."""

    data_path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    video_path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def place(self, episode: int) -> dict[str, int]:
        """The fields of the paths."""
        return {"episode_chunk": episode // FILES_PER_CHUNK, "episode_index": episode}

    def describe(self, root: Path, episodes: Sequence[Written], tasks: Mapping[str, int], info: dict[str, Any]) -> None:
        """Write what is beside info.json."""
        listed = [{"episode_index": e.index, "tasks": [e.task], "length": e.length} for e in episodes]
        _write_lines(root / "meta/episodes.jsonl", listed)
        _write_lines(root / "meta/tasks.jsonl", [{"task_index": n, "task": task} for task, n in tasks.items()])
        statistics = [{"episode_index": e.index, "stats": _plain(e.statistics, BASIC)} for e in episodes]
        _write_lines(root / "meta/episodes_stats.jsonl", statistics)
        write_json(root / "meta/modality.json", self._modality(info["features"]))

    def _modality(self, features: dict[str, Any]) -> dict[str, Any]:
        whole = {"state": features["observation.state"]["shape"][0], "action": features["action"]["shape"][0]}
        parts = {kind: self._groups.get(kind, {kind: (0, end)}) for kind, end in whole.items()}  # type: ignore[call-overload]
        for kind, part in parts.items():
            if wrong := [name for name, (start, end) in part.items() if not 0 <= start < end <= whole[kind]]:
                what = f"the group {wrong[0]} of {kind} is no part of its {whole[kind]} numbers"
                raise DataError(what, where="modality.json", mend="Give its first number and the one after its last.")
        ranges = {
            kind: {name: {"start": start, "end": end} for name, (start, end) in part.items()}
            for kind, part in parts.items()
        }
        video = {camera.split(".")[-1]: {"original_key": camera} for camera in _cameras({"features": features})}
        annotation = {"human.task_description": {"original_key": "task_index"}}
        return {**ranges, "video": video, "annotation": annotation}

    def totals(self, episodes: int, cameras: int) -> dict[str, int]:
        """What info.json counts besides."""
        return {"total_videos": episodes * cameras, "total_chunks": 1 + (episodes - 1) // FILES_PER_CHUNK}


def _cameras(info: dict[str, Any]) -> list[str]:
    return [name for name, feature in info["features"].items() if feature["dtype"] == "video"]


def write_statistics(root: Path, whole: dict[str, Statistics]) -> None:
    """`meta/stats.json`: of 3.0, and of GR00T's flavour of 2.1."""
    write_json(root / "meta/stats.json", _plain(whole))


def _plain(statistics: dict[str, Statistics], keys: Sequence[str] | None = None) -> dict[str, Any]:
    return {
        name: {key: value.tolist() for key, value in of.items() if keys is None or key in keys}
        for name, of in statistics.items()
    }


def _write_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def _task_table(tasks: Mapping[str, int]) -> pa.Table:
    """The task texts as pandas writes a frame whose index is the text: lerobot looks tasks up by index."""
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": list(tasks)})
    text = {"pandas_type": "unicode", "metadata": None}
    described = {
        "index_columns": ["task"],
        "column_indexes": [{"name": None, "field_name": None, "numpy_type": "object", **text}],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
            {"name": "task", "field_name": "task", "numpy_type": "object", **text},
        ],
        "pandas_version": "2.3.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(described)})


def write_table(path: Path, table: pa.Table) -> None:
    """A parquet file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
