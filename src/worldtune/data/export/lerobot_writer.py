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
from worldtune.data.columns import ACTION, STATE
from worldtune.data.export.lerobot_info import (
    ColumnInfo,
    EpisodeShapes,
    Robot,
    describe_features,
    frame_column_dtype,
)
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


@dataclass(frozen=True, eq=False)
class AnnotatedEpisode:
    """An episode with additional columns; `states_TS` is None if it has no states.

    `frame_columns` hold one value per frame, (T,) of bool, int64 or float32, in the data files. `episode_columns` are
    texts in the list of episodes.
    """

    frames: EpisodeFrames
    states_TS: np.ndarray | None
    actions_TA: np.ndarray
    task: str
    frame_columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    episode_columns: Mapping[str, str] = field(default_factory=dict)


def write_lerobot(
    folder: Path,
    episodes: Iterable[EpisodeData | AnnotatedEpisode],
    fps: float,
    robot: Robot,
    camera: str | Sequence[str],
    version: Version = "v3.0",
    groups: Groups | None = None,
    column_info: ColumnInfo | None = None,
) -> None:
    """Write `episodes` as a dataset with one or several cameras, features such as "observation.images.scene".

    An episode is (frames_THWC uint8, states_TS, actions_TA, task text), or an AnnotatedEpisode, read one at a time;
    with several cameras the frames are a mapping by camera. `groups` are the parts of states and actions that version
    2.1's modality.json names. `column_info` is added to the descriptions of columns in info.json.
    The dataset appears under `folder` only when it is complete, and replaces an older dataset there.
    Raise DataError if the parts of an episode do not fit each other or the first episode, if there are no
    episodes, if groups are given for version 3.0, and if `folder` holds something else.
    """
    if groups is not None and version == "v3.0":
        raise DataError("version 3.0 has no modality.json", where=str(folder), hint="Remove groups, or write v2.1.")
    check_replaceable(folder)
    cameras = [camera] if isinstance(camera, str) else list(camera)
    layout = Version3() if version == "v3.0" else Version2(groups or {})
    with atomic_folder(folder) as partial:
        writer = _Writer(partial, fps, cameras, version, layout)
        for episode in episodes:
            writer.add(episode if isinstance(episode, AnnotatedEpisode) else AnnotatedEpisode(*episode))
        writer.finish(robot, column_info or {})


def check_replaceable(folder: Path) -> None:
    """Raise DataError if `folder` exists and is not a LeRobot dataset, which would be lost."""
    if folder.exists() and not (folder / "meta" / "info.json").is_file():
        raise DataError("the folder exists and is not a dataset", where=str(folder), hint="Name a new folder.")


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
    shapes: EpisodeShapes | None = None
    frames: int = 0

    def add(self, episode: AnnotatedEpisode) -> None:
        videos = episode.frames if isinstance(episode.frames, Mapping) else {self.cameras[0]: episode.frames}
        self._validate(videos, episode)
        index, length = len(self.written), len(episode.actions_TA)
        at = self.layout.path_fields(index)
        columns = self._columns(episode, self.tasks.setdefault(episode.task, len(self.tasks)))
        _write_rows(self.root / self.layout.data_path.format(**at), columns)
        statistics = {name: row_statistics(values) for name, values in columns.items()}
        for camera in self.cameras:
            self._write_video(self.root / self.layout.video_path.format(video_key=camera, **at), videos[camera])
            counts_CV = histogram(videos[camera])
            statistics[camera] = image_statistics(counts_CV, length)
            self.pixels[camera] = self.pixels.get(camera, 0) + counts_CV
        annotation = dict(episode.episode_columns)
        self.written.append(WrittenEpisode(index, self.frames, length, episode.task, statistics, annotation))
        self.columns.append(columns)
        self.frames += length

    def _write_video(self, video: Path, frames_THWC: np.ndarray) -> None:
        video.parent.mkdir(parents=True, exist_ok=True)
        write_video(video, frames_THWC, self.fps)
        if measure_video(video).frames != len(frames_THWC):
            what = f"not all of its {len(frames_THWC)} written frames can be read back"
            raise DataError(what, where=str(video), hint="This is a bug: report it.")

    def _validate(self, videos: Mapping[str, np.ndarray], episode: AnnotatedEpisode) -> None:
        where = f"episode {len(self.written)}"
        if set(videos) != set(self.cameras):
            what = f"its cameras are {', '.join(sorted(videos))}, not {', '.join(sorted(self.cameras))}"
            raise DataError(what, where=where, hint="Give every episode the same cameras.")
        rows = [episode.actions_TA] if episode.states_TS is None else [episode.states_TS, episode.actions_TA]
        parts = [*(videos[camera] for camera in self.cameras), *rows]
        if any(part.ndim != 2 for part in rows) or len({len(part) for part in parts}) > 1:
            shapes = ", ".join(str(part.shape) for part in parts)
            raise DataError(f"the shapes do not fit: {shapes}", where=where, hint="Give (T,H,W,3), (T,S) and (T,A).")
        for name, values_T in episode.frame_columns.items():
            if values_T.shape != (len(episode.actions_TA),):
                what = f"the column {name} is {values_T.shape}, not ({len(episode.actions_TA)},)"
                raise DataError(what, where=where, hint="Give one value per frame.")
        if not episode.task.strip():
            raise DataError("the task text is empty", where=where, hint="Say what the robot does.")
        if not all(np.isfinite(part).all() for part in rows):
            raise DataError("states or actions are not finite", where=where, hint="Remove the episode.")
        self._check_like_first(videos, episode, where)

    def _check_like_first(self, videos: Mapping[str, np.ndarray], episode: AnnotatedEpisode, where: str) -> None:
        shapes = EpisodeShapes(
            {camera: videos[camera].shape[1:] for camera in self.cameras},
            None if episode.states_TS is None else episode.states_TS.shape[1],
            episode.actions_TA.shape[1],
            {name: frame_column_dtype(values, name, where) for name, values in episode.frame_columns.items()},
        )
        first = self.shapes or shapes
        if (shapes.states is None) != (first.states is None):
            has, others = ("no states", "have") if shapes.states is None else ("states", "have none")
            what = f"it has {has}, but earlier episodes {others}"
            raise DataError(what, where=where, hint="Write episodes with and without states as two datasets.")
        if shapes != first:
            raise DataError(f"sizes {shapes} differ from {first}", where=where, hint="Give all episodes the same size.")
        if self.written and set(episode.episode_columns) != set(self.written[0].annotation):
            names = ", ".join(sorted(set(episode.episode_columns) ^ set(self.written[0].annotation)))
            raise DataError(f"not all episodes have {names}", where=where, hint="Give every episode the same columns.")
        self.shapes = first

    def _columns(self, episode: AnnotatedEpisode, task_index: int) -> dict[str, np.ndarray]:
        frame_index = np.arange(len(episode.actions_TA))
        states = {} if episode.states_TS is None else {STATE: episode.states_TS.astype(np.float32)}
        return states | {
            ACTION: episode.actions_TA.astype(np.float32),
            "timestamp": (frame_index / self.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full_like(frame_index, len(self.written)),
            "index": frame_index + self.frames,
            "task_index": np.full_like(frame_index, task_index),
            **episode.frame_columns,
        }

    def finish(self, robot: Robot, column_info: ColumnInfo) -> None:
        if self.shapes is None:
            raise DataError("no episodes to write", where=str(self.root), hint="Give at least one episode.")
        fps = int(self.fps) if self.fps == int(self.fps) else self.fps
        info = self._info(robot, fps) | {"features": describe_features(self.shapes, fps, robot, column_info)}
        self.layout.write_metadata(self.root, self.written, self.tasks, info)
        row_totals = {
            name: row_statistics(np.concatenate([camera[name] for camera in self.columns])) for name in self.columns[0]
        }
        frames_by_camera = {camera: image_statistics(counts, self.frames) for camera, counts in self.pixels.items()}
        write_statistics(self.root, row_totals | frames_by_camera)
        write_json(self.root / "meta/info.json", info)

    def _info(self, robot: Robot, fps: float) -> dict[str, Any]:
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
        }


def _write_rows(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write one data file; features of length 1 become plain columns, as lerobot's reader expects."""
    arrays = {}
    for name, values in columns.items():
        flat = pa.array(values.ravel())
        wide = values.ndim == 2 and values.shape[1] > 1
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if wide else flat
    write_table(path, pa.table(arrays))
