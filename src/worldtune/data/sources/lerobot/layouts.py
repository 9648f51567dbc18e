"""The files of a LeRobot dataset and the content of its metadata, in versions 3.0 and 2.1.

Formats: github.com/huggingface/lerobot, `lerobot/datasets` of 0.6.1 (3.0) and 0.3.2 (2.1); `meta/modality.json` of
github.com/NVIDIA/Isaac-GR00T, "Robot data conversion guide". One file per episode is also valid in 3.0 (file index =
episode); from_timestamp is then always 0, which avoids its known drift (lerobot issue 3177).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.core.files import write_json
from worldtune.data.columns import ACTION, STATE
from worldtune.data.sources.lerobot.feature_statistics import Statistics
from worldtune.errors import DataError

Version = Literal["v3.0", "v2.1"]
FILES_PER_CHUNK = 1000
VERSION_2_STATISTICS = ("min", "max", "mean", "std", "count")  # the statistics of version 2.1
Groups = Mapping[Literal["state", "action"], Mapping[str, tuple[int, int]]]
"""GR00T's names for the parts of a state or an action: name → (first dimension, end dimension)."""


@dataclass(frozen=True)
class WrittenEpisode:
    """A written episode: its rows are `first` … first + length - 1 of the dataset's.

    `annotation` are texts by name, further columns of the list of episodes; readers keep columns that they do not know.
    """

    index: int
    first: int
    length: int
    task: str
    statistics: dict[str, Statistics]
    annotation: dict[str, str]


class Version3:
    """Version 3.0, with metadata in parquet: `meta/episodes`, `meta/tasks.parquet`, `meta/stats.json`."""

    data_path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

    def path_fields(self, episode: int) -> dict[str, int]:
        """Return the fields of the path templates."""
        chunk, file = divmod(episode, FILES_PER_CHUNK)
        return {"chunk_index": chunk, "file_index": file}

    def write_metadata(
        self, root: Path, episodes: Sequence[WrittenEpisode], tasks: Mapping[str, int], info: dict[str, Any]
    ) -> None:
        """Write the metadata files other than info.json."""
        cameras, fps = _cameras(info), info["fps"]
        records = [self._record(episode, cameras, fps) for episode in episodes]
        write_table(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(records))
        write_table(root / "meta/tasks.parquet", _task_table(tasks))

    def _record(self, episode: WrittenEpisode, cameras: Sequence[str], fps: float) -> dict[str, Any]:
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
            record |= {f"{kind}/{key}": value for key, value in self.path_fields(episode.index).items()}
        for camera in cameras:
            record |= {f"videos/{camera}/from_timestamp": 0.0, f"videos/{camera}/to_timestamp": episode.length / fps}
        for name, values in episode.statistics.items():
            record |= {f"stats/{name}/{key}": value.tolist() for key, value in values.items()}
        return episode.annotation | record

    def totals(self, episodes: int, cameras: int) -> dict[str, int]:
        """Return the entries that this version adds to info.json."""
        return {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}


class Version2:
    """Version 2.1, in JSON lines: `meta/episodes.jsonl`, `episodes_stats.jsonl`, `tasks.jsonl`; and `modality.json`."""

    data_path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    video_path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def path_fields(self, episode: int) -> dict[str, int]:
        """Return the fields of the path templates."""
        return {"episode_chunk": episode // FILES_PER_CHUNK, "episode_index": episode}

    def write_metadata(
        self, root: Path, episodes: Sequence[WrittenEpisode], tasks: Mapping[str, int], info: dict[str, Any]
    ) -> None:
        """Write the metadata files other than info.json."""
        listed = [e.annotation | {"episode_index": e.index, "tasks": [e.task], "length": e.length} for e in episodes]
        _write_jsonl(root / "meta/episodes.jsonl", listed)
        _write_jsonl(root / "meta/tasks.jsonl", [{"task_index": n, "task": task} for task, n in tasks.items()])
        statistics = [
            {"episode_index": e.index, "stats": _to_lists(e.statistics, VERSION_2_STATISTICS)} for e in episodes
        ]
        _write_jsonl(root / "meta/episodes_stats.jsonl", statistics)
        write_json(root / "meta/modality.json", self._modality(info["features"]))

    def _modality(self, features: dict[str, Any]) -> dict[str, Any]:
        columns = {"state": STATE, "action": ACTION}
        dimensions = {kind: features[name]["shape"][0] for kind, name in columns.items() if name in features}
        parts = {kind: self._groups.get(kind, {kind: (0, end)}) for kind, end in dimensions.items()}  # type: ignore[call-overload]
        for kind, part in parts.items():
            if wrong := [name for name, (start, end) in part.items() if not 0 <= start < end <= dimensions[kind]]:
                what = f"the group {wrong[0]} of {kind} is not within its {dimensions[kind]} dimensions"
                raise DataError(
                    what, where="modality.json", hint="Give its first dimension and the one after its last."
                )
        ranges = {
            kind: {name: {"start": start, "end": end} for name, (start, end) in part.items()}
            for kind, part in parts.items()
        }
        video = {camera.split(".")[-1]: {"original_key": camera} for camera in _cameras({"features": features})}
        annotation = {"human.task_description": {"original_key": "task_index"}}
        return {"state": {}, **ranges, "video": video, "annotation": annotation}

    def totals(self, episodes: int, cameras: int) -> dict[str, int]:
        """Return the entries that this version adds to info.json."""
        return {"total_videos": episodes * cameras, "total_chunks": 1 + (episodes - 1) // FILES_PER_CHUNK}


def _cameras(info: dict[str, Any]) -> list[str]:
    return [name for name, feature in info["features"].items() if feature["dtype"] == "video"]


def write_statistics(root: Path, dimensions: dict[str, Statistics]) -> None:
    """Write `meta/stats.json`, which 3.0 and GR00T's flavor of 2.1 have."""
    write_json(root / "meta/stats.json", _to_lists(dimensions))


def _to_lists(statistics: dict[str, Statistics], keys: Sequence[str] | None = None) -> dict[str, Any]:
    return {
        name: {key: value.tolist() for key, value in values.items() if keys is None or key in keys}
        for name, values in statistics.items()
    }


def _write_jsonl(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def _task_table(tasks: Mapping[str, int]) -> pa.Table:
    """Return the task texts as pandas writes a frame with the text as index: lerobot looks tasks up by index."""
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": list(tasks)})
    text = {"pandas_type": "unicode", "metadata": None}
    pandas_metadata = {
        "index_columns": ["task"],
        "column_indexes": [{"name": None, "field_name": None, "numpy_type": "object", **text}],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
            {"name": "task", "field_name": "task", "numpy_type": "object", **text},
        ],
        "pandas_version": "2.3.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas_metadata)})


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
