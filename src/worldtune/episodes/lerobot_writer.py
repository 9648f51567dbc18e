"""Writing a LeRobot v3.0 dataset: one data file and one mp4 for each episode.

Format: github.com/huggingface/lerobot 0.6.1, `lerobot/datasets`. One file an episode is legal
(file index = episode) and keeps from_timestamp at 0, clear of its known drift (lerobot issue 3177).
Shapes: T frames, H, W pixels, C colours, S state and A action dimensions.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.episodes.scan import measure
from worldtune.episodes.statistics import Statistics, histogram, of_pictures, of_rows
from worldtune.episodes.video import write_video
from worldtune.errors import DataError
from worldtune.files import atomic_folder, write_json

Trajectory = tuple[np.ndarray, np.ndarray, np.ndarray, str]
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
INDICES = ("frame_index", "episode_index", "index", "task_index")


def write_lerobot(
    folder: Path,
    episodes: Iterable[Trajectory],
    fps: float,
    robot_type: str,
    camera: str,
    state_names: Sequence[str] | None = None,
    action_names: Sequence[str] | None = None,
) -> None:
    """Write `episodes` as a dataset with one camera, a feature such as "observation.images.scene".

    An episode is (frames_THWC uint8, states_TS, actions_TA, task text), taken one at a time. The
    dataset appears under `folder` only when it is whole, in the place of an older dataset there.
    Raises DataError for an episode whose parts do not fit each other or the first episode, for no
    episodes, and for a `folder` that holds something else.
    """
    if folder.exists() and not (folder / "meta" / "info.json").is_file():
        raise DataError("the folder exists and is no dataset", where=str(folder), mend="Name a new folder.")
    with atomic_folder(folder) as partial:
        writer = _Writer(partial, fps, camera)
        for episode in episodes:
            writer.add(*episode)
        writer.finish(robot_type, state_names, action_names)


@dataclass
class _Writer:
    """What is known after the episodes so far."""

    root: Path
    fps: float
    camera: str
    tasks: dict[str, int] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    columns: list[dict[str, np.ndarray]] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    size: tuple[int, ...] = ()
    frames: int = 0

    def add(self, frames_THWC: np.ndarray, states_TS: np.ndarray, actions_TA: np.ndarray, task: str) -> None:
        self._check(frames_THWC, states_TS, actions_TA, task)
        index, length = len(self.records), len(frames_THWC)
        chunk, file = divmod(index, FILES_PER_CHUNK)
        at = {"chunk_index": chunk, "file_index": file}
        columns = self._columns(states_TS, actions_TA, self.tasks.setdefault(task, len(self.tasks)))
        _write_rows(self.root / DATA_PATH.format(**at), columns)
        video = self.root / VIDEO_PATH.format(video_key=self.camera, **at)
        video.parent.mkdir(parents=True, exist_ok=True)
        write_video(video, frames_THWC, self.fps)
        if measure(video).frames != length:
            raise DataError(f"not all of its {length} frames can be read back", where=str(video), mend="Report this.")
        counts_CV = histogram(frames_THWC)
        statistics = {name: of_rows(values) for name, values in columns.items()}
        statistics[self.camera] = of_pictures(counts_CV, length)
        self.records.append(self._record(index, length, task, at) | _flatten(statistics))
        self.columns.append(columns)
        self.pixels += counts_CV
        self.frames += length

    def _check(self, frames_THWC: np.ndarray, states_TS: np.ndarray, actions_TA: np.ndarray, task: str) -> None:
        where = f"episode {len(self.records)}"
        size = (*frames_THWC.shape[1:], *states_TS.shape[1:], *actions_TA.shape[1:])
        if states_TS.ndim != 2 or actions_TA.ndim != 2 or not len(frames_THWC) == len(states_TS) == len(actions_TA):
            shapes = f"{frames_THWC.shape}, {states_TS.shape}, {actions_TA.shape}"
            raise DataError(f"the shapes do not fit: {shapes}", where=where, mend="Give (T,H,W,3), (T,S) and (T,A).")
        if self.size and size != self.size:
            raise DataError(f"sizes {size} differ from {self.size}", where=where, mend="Give every episode one size.")
        if not task.strip():
            raise DataError("the task text is empty", where=where, mend="Say what the robot does.")
        if not (np.isfinite(states_TS).all() and np.isfinite(actions_TA).all()):
            raise DataError("states or actions are not finite", where=where, mend="Leave the episode out.")
        self.size = size

    def _columns(self, states_TS: np.ndarray, actions_TA: np.ndarray, task_index: int) -> dict[str, np.ndarray]:
        frame_index = np.arange(len(states_TS))
        return {
            "observation.state": states_TS.astype(np.float32),
            "action": actions_TA.astype(np.float32),
            "timestamp": (frame_index / self.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full_like(frame_index, len(self.records)),
            "index": frame_index + self.frames,
            "task_index": np.full_like(frame_index, task_index),
        }

    def _record(self, index: int, length: int, task: str, at: dict[str, int]) -> dict[str, Any]:
        """The episode's row of meta/episodes, without its statistics."""
        files = {f"{kind}/{key}": value for kind in ("data", f"videos/{self.camera}") for key, value in at.items()}
        return {
            "episode_index": index,
            "tasks": [task],
            "length": length,
            **files,
            f"videos/{self.camera}/from_timestamp": 0.0,
            f"videos/{self.camera}/to_timestamp": length / self.fps,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }

    def finish(self, robot_type: str, state_names: Sequence[str] | None, action_names: Sequence[str] | None) -> None:
        if not self.records:
            raise DataError("there are no episodes to write", where=str(self.root), mend="Give at least one.")
        _write_table(self.root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(self.records))
        _write_table(self.root / "meta/tasks.parquet", _task_table(self.tasks))
        whole = {name: of_rows(np.concatenate([c[name] for c in self.columns])) for name in self.columns[0]}
        whole[self.camera] = of_pictures(self.pixels, self.frames)
        listed = {name: {key: value.tolist() for key, value in of.items()} for name, of in whole.items()}
        write_json(self.root / "meta/stats.json", listed)
        write_json(self.root / "meta/info.json", self._info(robot_type, state_names, action_names))

    def _info(
        self, robot_type: str, state_names: Sequence[str] | None, action_names: Sequence[str] | None
    ) -> dict[str, Any]:
        fps = int(self.fps) if self.fps == int(self.fps) else self.fps
        return {
            "codebase_version": "v3.0",
            "robot_type": robot_type,
            "total_episodes": len(self.records),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": fps,
            "splits": {"train": f"0:{len(self.records)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": self._features(fps, state_names, action_names),
        }

    def _features(
        self, fps: float, state_names: Sequence[str] | None, action_names: Sequence[str] | None
    ) -> dict[str, Any]:
        height, width, _, states, actions = self.size
        return {
            "observation.state": _vector(states, state_names),
            "action": _vector(actions, action_names),
            self.camera: _video(height, width, fps),
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            **{name: {"dtype": "int64", "shape": [1], "names": None} for name in INDICES},
        }


def _vector(dimensions: int, names: Sequence[str] | None) -> dict[str, Any]:
    if names is not None and len(names) != dimensions:
        raise DataError(f"{len(names)} names for {dimensions} dimensions", where=", ".join(names), mend="Name each.")
    return {"dtype": "float32", "shape": [dimensions], "names": list(names) if names is not None else None}


def _video(height: int, width: int, fps: float) -> dict[str, Any]:
    info = {"video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p"}
    rest = {"video.fps": fps, "video.channels": 3, "has_audio": False, "is_depth_map": False}
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": info | rest}


def _flatten(statistics: dict[str, Statistics]) -> dict[str, Any]:
    return {f"stats/{name}/{key}": value.tolist() for name, of in statistics.items() for key, value in of.items()}


def _write_rows(path: Path, columns: dict[str, np.ndarray]) -> None:
    """One-dimensional features of length 1 are plain columns, as lerobot's reader expects."""
    arrays = {}
    for name, values in columns.items():
        flat = pa.array(values.ravel())
        wide = values.ndim == 2 and values.shape[1] > 1
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if wide else flat
    _write_table(path, pa.table(arrays))


def _task_table(tasks: dict[str, int]) -> pa.Table:
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


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
