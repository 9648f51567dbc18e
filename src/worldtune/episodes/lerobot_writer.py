"""Writing a LeRobot dataset, version 3.0 or 2.1: one data file an episode, one mp4 for each of its cameras.

Shapes: T frames, H, W pixels, C colours, S state and A action dimensions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from worldtune.episodes.lerobot_layouts import (
    FILES_PER_CHUNK,
    Groups,
    Version,
    Version2,
    Version3,
    Written,
    write_statistics,
    write_table,
)
from worldtune.episodes.scan import measure
from worldtune.episodes.statistics import histogram, of_pictures, of_rows
from worldtune.episodes.video import write_video
from worldtune.errors import DataError
from worldtune.files import atomic_folder, write_json

Pictures = np.ndarray | Mapping[str, np.ndarray]
Trajectory = tuple[Pictures, np.ndarray, np.ndarray, str]
INDICES = ("frame_index", "episode_index", "index", "task_index")


def write_lerobot(
    folder: Path,
    episodes: Iterable[Trajectory],
    fps: float,
    robot_type: str,
    camera: str | Sequence[str],
    state_names: Sequence[str] | None = None,
    action_names: Sequence[str] | None = None,
    version: Version = "v3.0",
    groups: Groups | None = None,
) -> None:
    """Write `episodes` as a dataset with a camera, a feature such as "observation.images.scene", or several.

    An episode is (frames_THWC uint8, states_TS, actions_TA, task text), taken one at a time; of several cameras the
    frames are a mapping. `groups` are the parts of states and actions that version 2.1's modality.json names. The
    dataset appears under `folder` only when it is whole, in the place of an older dataset there.
    Raises DataError for an episode whose parts do not fit each other or the first episode, for no
    episodes, for groups of version 3.0, and for a `folder` that holds something else.
    """
    if groups is not None and version == "v3.0":
        raise DataError("version 3.0 has no modality.json", where=str(folder), mend="Leave groups out, or write v2.1.")
    if folder.exists() and not (folder / "meta" / "info.json").is_file():
        raise DataError("the folder exists and is no dataset", where=str(folder), mend="Name a new folder.")
    cameras = [camera] if isinstance(camera, str) else list(camera)
    layout = Version3() if version == "v3.0" else Version2(groups or {})
    with atomic_folder(folder) as partial:
        writer = _Writer(partial, fps, cameras, version, layout)
        for pictures, states_TS, actions_TA, task in episodes:
            films = pictures if isinstance(pictures, Mapping) else {cameras[0]: pictures}
            writer.add(films, states_TS, actions_TA, task)
        writer.finish(robot_type, state_names, action_names)


@dataclass
class _Writer:
    """What is known after the episodes so far."""

    root: Path
    fps: float
    cameras: list[str]
    version: Version
    layout: Version2 | Version3
    tasks: dict[str, int] = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)
    columns: list[dict[str, np.ndarray]] = field(default_factory=list)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    size: tuple[Any, ...] = ()
    frames: int = 0

    def add(self, films: Mapping[str, np.ndarray], states_TS: np.ndarray, actions_TA: np.ndarray, task: str) -> None:
        self._check(films, states_TS, actions_TA, task)
        index, length = len(self.written), len(states_TS)
        at = self.layout.place(index)
        columns = self._columns(states_TS, actions_TA, self.tasks.setdefault(task, len(self.tasks)))
        _write_rows(self.root / self.layout.data_path.format(**at), columns)
        statistics = {name: of_rows(values) for name, values in columns.items()}
        for camera in self.cameras:
            self._write_film(self.root / self.layout.video_path.format(video_key=camera, **at), films[camera])
            counts_CV = histogram(films[camera])
            statistics[camera] = of_pictures(counts_CV, length)
            self.pixels[camera] = self.pixels.get(camera, 0) + counts_CV
        self.written.append(Written(index, self.frames, length, task, statistics))
        self.columns.append(columns)
        self.frames += length

    def _write_film(self, video: Path, frames_THWC: np.ndarray) -> None:
        video.parent.mkdir(parents=True, exist_ok=True)
        write_video(video, frames_THWC, self.fps)
        if measure(video).frames != len(frames_THWC):
            what = f"not all of its {len(frames_THWC)} frames can be read back"
            raise DataError(what, where=str(video), mend="Report this.")

    def _check(self, films: Mapping[str, np.ndarray], states_TS: np.ndarray, actions_TA: np.ndarray, task: str) -> None:
        where = f"episode {len(self.written)}"
        if set(films) != set(self.cameras):
            what = f"its cameras are {', '.join(sorted(films))}, not {', '.join(sorted(self.cameras))}"
            raise DataError(what, where=where, mend="Give every episode the same cameras.")
        pictures = [films[camera] for camera in self.cameras]
        size = (*(frames.shape[1:] for frames in pictures), states_TS.shape[1:], actions_TA.shape[1:])
        lengths = {len(part) for part in (*pictures, states_TS, actions_TA)}
        if states_TS.ndim != 2 or actions_TA.ndim != 2 or len(lengths) > 1:
            shapes = ", ".join(str(part.shape) for part in (*pictures, states_TS, actions_TA))
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
            "episode_index": np.full_like(frame_index, len(self.written)),
            "index": frame_index + self.frames,
            "task_index": np.full_like(frame_index, task_index),
        }

    def finish(self, robot_type: str, state_names: Sequence[str] | None, action_names: Sequence[str] | None) -> None:
        if not self.written:
            raise DataError("there are no episodes to write", where=str(self.root), mend="Give at least one.")
        info = self._info(robot_type, state_names, action_names)
        self.layout.describe(self.root, self.written, self.tasks, info)
        whole = {name: of_rows(np.concatenate([c[name] for c in self.columns])) for name in self.columns[0]}
        pictures = {camera: of_pictures(counts, self.frames) for camera, counts in self.pixels.items()}
        write_statistics(self.root, whole | pictures)
        write_json(self.root / "meta/info.json", info)

    def _info(
        self, robot_type: str, state_names: Sequence[str] | None, action_names: Sequence[str] | None
    ) -> dict[str, Any]:
        fps = int(self.fps) if self.fps == int(self.fps) else self.fps
        return {
            "codebase_version": self.version,
            "robot_type": robot_type,
            "total_episodes": len(self.written),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": FILES_PER_CHUNK,
            **self.layout.totals(len(self.written), len(self.cameras)),
            "fps": fps,
            "splits": {"train": f"0:{len(self.written)}"},
            "data_path": self.layout.data_path,
            "video_path": self.layout.video_path,
            "features": self._features(fps, state_names, action_names),
        }

    def _features(
        self, fps: float, state_names: Sequence[str] | None, action_names: Sequence[str] | None
    ) -> dict[str, Any]:
        *pictures, (states,), (actions,) = self.size
        return {
            "observation.state": _vector(states, state_names),
            "action": _vector(actions, action_names),
            **{c: _video(size[0], size[1], fps) for c, size in zip(self.cameras, pictures, strict=True)},
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


def _write_rows(path: Path, columns: dict[str, np.ndarray]) -> None:
    """One-dimensional features of length 1 are plain columns, as lerobot's reader expects."""
    arrays = {}
    for name, values in columns.items():
        flat = pa.array(values.ravel())
        wide = values.ndim == 2 and values.shape[1] > 1
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if wide else flat
    write_table(path, pa.table(arrays))
