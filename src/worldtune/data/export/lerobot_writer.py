"""Write a LeRobot dataset, version 3.0 or 2.1: one data file per episode, one mp4 for each of its cameras.

Shapes: T frames, H, W pixels, C colors, S state and A action dimensions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from worldtune.core.files import atomic_folder, write_json
from worldtune.data.sources.lerobot.feature_statistics import histogram, image_statistics, row_statistics
from worldtune.data.sources.lerobot.layouts import (
    FILES_PER_CHUNK,
    Groups,
    Version,
    Version2,
    Version3,
    WrittenEpisode,
    write_statistics,
    write_table,
)
from worldtune.data.video.decode import write_video
from worldtune.data.video.video_index import measure_video
from worldtune.errors import DataError

EpisodeFrames = np.ndarray | Mapping[str, np.ndarray]
EpisodeData = tuple[EpisodeFrames, np.ndarray, np.ndarray, str]
INDEX_COLUMNS = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Robot:
    """What info.json says of the robot: its type, and the names of its states' and actions' dimensions, if known."""

    type: str
    state_names: Sequence[str] | None = None
    action_names: Sequence[str] | None = None


def write_lerobot(
    folder: Path,
    episodes: Iterable[EpisodeData],
    fps: float,
    robot: Robot,
    camera: str | Sequence[str],
    version: Version = "v3.0",
    groups: Groups | None = None,
) -> None:
    """Write `episodes` as a dataset with one or several cameras, features such as "observation.images.scene".

    An episode is (frames_THWC uint8, states_TS, actions_TA, task text), read one at a time; with several cameras the
    frames are a mapping by camera. `groups` are the parts of states and actions that version 2.1's modality.json names.
    The dataset appears under `folder` only when it is complete, and replaces an older dataset there.
    Raise DataError if the parts of an episode do not fit each other or the first episode, if there are no
    episodes, if groups are given for version 3.0, and if `folder` holds something else.
    """
    if groups is not None and version == "v3.0":
        raise DataError("version 3.0 has no modality.json", where=str(folder), hint="Remove groups, or write v2.1.")
    if folder.exists() and not (folder / "meta" / "info.json").is_file():
        raise DataError("the folder exists and is not a dataset", where=str(folder), hint="Name a new folder.")
    cameras = [camera] if isinstance(camera, str) else list(camera)
    layout = Version3() if version == "v3.0" else Version2(groups or {})
    with atomic_folder(folder) as partial:
        writer = _Writer(partial, fps, cameras, version, layout)
        for frames_by_camera, states_TS, actions_TA, task in episodes:
            videos = frames_by_camera if isinstance(frames_by_camera, Mapping) else {cameras[0]: frames_by_camera}
            writer.add(videos, states_TS, actions_TA, task)
        writer.finish(robot)


@dataclass
class _Writer:
    """The state of the writer after the episodes so far."""

    root: Path
    fps: float
    cameras: list[str]
    version: Version
    layout: Version2 | Version3
    tasks: dict[str, int] = field(default_factory=dict)
    written: list[WrittenEpisode] = field(default_factory=list)
    columns: list[dict[str, np.ndarray]] = field(default_factory=list)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    size: tuple[Any, ...] = ()
    frames: int = 0

    def add(self, videos: Mapping[str, np.ndarray], states_TS: np.ndarray, actions_TA: np.ndarray, task: str) -> None:
        self._validate(videos, states_TS, actions_TA, task)
        index, length = len(self.written), len(states_TS)
        at = self.layout.path_fields(index)
        columns = self._columns(states_TS, actions_TA, self.tasks.setdefault(task, len(self.tasks)))
        _write_rows(self.root / self.layout.data_path.format(**at), columns)
        statistics = {name: row_statistics(values) for name, values in columns.items()}
        for camera in self.cameras:
            self._write_video(self.root / self.layout.video_path.format(video_key=camera, **at), videos[camera])
            counts_CV = histogram(videos[camera])
            statistics[camera] = image_statistics(counts_CV, length)
            self.pixels[camera] = self.pixels.get(camera, 0) + counts_CV
        self.written.append(WrittenEpisode(index, self.frames, length, task, statistics))
        self.columns.append(columns)
        self.frames += length

    def _write_video(self, video: Path, frames_THWC: np.ndarray) -> None:
        video.parent.mkdir(parents=True, exist_ok=True)
        write_video(video, frames_THWC, self.fps)
        if measure_video(video).frames != len(frames_THWC):
            what = f"not all of its {len(frames_THWC)} written frames can be read back"
            raise DataError(what, where=str(video), hint="This is a bug: report it.")

    def _validate(
        self, videos: Mapping[str, np.ndarray], states_TS: np.ndarray, actions_TA: np.ndarray, task: str
    ) -> None:
        where = f"episode {len(self.written)}"
        if set(videos) != set(self.cameras):
            what = f"its cameras are {', '.join(sorted(videos))}, not {', '.join(sorted(self.cameras))}"
            raise DataError(what, where=where, hint="Give every episode the same cameras.")
        frames_by_camera = [videos[camera] for camera in self.cameras]
        size = (*(frames.shape[1:] for frames in frames_by_camera), states_TS.shape[1:], actions_TA.shape[1:])
        lengths = {len(part) for part in (*frames_by_camera, states_TS, actions_TA)}
        if states_TS.ndim != 2 or actions_TA.ndim != 2 or len(lengths) > 1:
            shapes = ", ".join(str(part.shape) for part in (*frames_by_camera, states_TS, actions_TA))
            raise DataError(f"the shapes do not fit: {shapes}", where=where, hint="Give (T,H,W,3), (T,S) and (T,A).")
        if self.size and size != self.size:
            raise DataError(
                f"sizes {size} differ from {self.size}", where=where, hint="Give all episodes the same size."
            )
        if not task.strip():
            raise DataError("the task text is empty", where=where, hint="Say what the robot does.")
        if not (np.isfinite(states_TS).all() and np.isfinite(actions_TA).all()):
            raise DataError("states or actions are not finite", where=where, hint="Remove the episode.")
        self.size = size

    def _columns(self, states_TS: np.ndarray, actions_TA: np.ndarray, task_index: int) -> dict[str, np.ndarray]:
        frame_index = np.arange(len(states_TS))
        return {
            "observation.state": states_TS.astype(np.float32),
            "action": actions_TA.astype(np.float32),
            "timestamp": (frame_index / self.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full_like(frame_index, len(self.written)),
            "index": frame_index + self.frames,
            "task_index": np.full_like(frame_index, task_index),
        }

    def finish(self, robot: Robot) -> None:
        if not self.written:
            raise DataError("no episodes to write", where=str(self.root), hint="Give at least one episode.")
        info = self._info(robot)
        self.layout.write_metadata(self.root, self.written, self.tasks, info)
        row_totals = {
            name: row_statistics(np.concatenate([camera[name] for camera in self.columns])) for name in self.columns[0]
        }
        frames_by_camera = {camera: image_statistics(counts, self.frames) for camera, counts in self.pixels.items()}
        write_statistics(self.root, row_totals | frames_by_camera)
        write_json(self.root / "meta/info.json", info)

    def _info(self, robot: Robot) -> dict[str, Any]:
        fps = int(self.fps) if self.fps == int(self.fps) else self.fps
        return {
            "codebase_version": self.version,
            "robot_type": robot.type,
            "total_episodes": len(self.written),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": FILES_PER_CHUNK,
            **self.layout.totals(len(self.written), len(self.cameras)),
            "fps": fps,
            "splits": {"train": f"0:{len(self.written)}"},
            "data_path": self.layout.data_path,
            "video_path": self.layout.video_path,
            "features": self._features(fps, robot),
        }

    def _features(self, fps: float, robot: Robot) -> dict[str, Any]:
        *frames_by_camera, (states,), (actions,) = self.size
        return {
            "observation.state": _vector(states, robot.state_names),
            "action": _vector(actions, robot.action_names),
            **{
                camera: _video(size[0], size[1], fps)
                for camera, size in zip(self.cameras, frames_by_camera, strict=True)
            },
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            **{name: {"dtype": "int64", "shape": [1], "names": None} for name in INDEX_COLUMNS},
        }


def _vector(dimensions: int, names: Sequence[str] | None) -> dict[str, Any]:
    if names is not None and len(names) != dimensions:
        raise DataError(
            f"{len(names)} names for {dimensions} dimensions", where=", ".join(names), hint="Name each dimension."
        )
    return {"dtype": "float32", "shape": [dimensions], "names": list(names) if names is not None else None}


def _video(height: int, width: int, fps: float) -> dict[str, Any]:
    info = {"video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p"}
    rest = {"video.fps": fps, "video.channels": 3, "has_audio": False, "is_depth_map": False}
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": info | rest}


def _write_rows(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write one data file; features of length 1 become plain columns, as lerobot's reader expects."""
    arrays = {}
    for name, values in columns.items():
        flat = pa.array(values.ravel())
        wide = values.ndim == 2 and values.shape[1] > 1
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if wide else flat
    write_table(path, pa.table(arrays))
