"""LeRobot datasets of versions 2.0, 2.1 and 3.0, read in place, without the lerobot package."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Film
from worldtune.episodes.scan import measure
from worldtune.episodes.sources.lerobot_files import read_column, read_info, read_table
from worldtune.episodes.sources.lerobot_meta import Promise, Span, read_promises, read_tasks, same_rate
from worldtune.episodes.sources.lerobot_problems import find_problems
from worldtune.episodes.sources.shelf import Shelf
from worldtune.episodes.sources.tasks import description_column, texts_of
from worldtune.errors import DataError

STATE, ACTION = "observation.state", "action"


@dataclass(frozen=True, eq=False)
class Data:
    """An episode's rows: states (T, S), actions (T, A) float32, its task text, the count of rows."""

    states: np.ndarray | None
    actions: np.ndarray | None
    rows: int
    task: str
    note: str


class LeRobotSource:
    """One dataset folder. Raises DataError when its metadata cannot be read or name no video."""

    def __init__(self, path: str, folder: Path, shelf: Shelf) -> None:
        self.path = path
        self.shelf = shelf
        self.folder = folder
        self.info = read_info(folder / "meta" / "info.json")
        self.version = _major(str(self.info["codebase_version"]), path)
        self.kind = f"LeRobot {self.info['codebase_version']}"
        self.fps = float(self.info["fps"])
        features = self.info["features"]
        self.cameras = [name for name, feature in features.items() if feature.get("dtype") == "video"]
        if not self.cameras or not self.info.get("video_path"):
            raise DataError("the dataset has no video features", where=path, mend="Record it with videos.")
        self.promises = read_promises(folder, self.info, self.version, self.cameras)
        self.task_texts = read_tasks(folder, self.version)
        self._description = description_column(folder)
        self.present = [camera for camera in self.cameras if any(self._there(p, camera) for p in self.promises)]

    def _there(self, promise: Promise, camera: str) -> bool:
        return camera in promise.spans and self.shelf.has(promise.spans[camera].video)

    @property
    def count(self) -> int:
        return len(self.promises)

    @property
    def tasks(self) -> list[str]:
        rows = (self._rows(promise) if self._description else None for promise in self.promises)
        found = (self._texts(promise, table) for promise, table in zip(self.promises, rows, strict=True))
        return list(dict.fromkeys(texts[0] for texts in found if texts))

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for promise in self.promises:
            data = self.data(promise)
            for camera in cameras:
                reason = self._fault(promise, camera)
                if reason:
                    task = data.task
                    yield Lost(promise.name, camera, task, task, promise.length, self.fps, reason, promise.session)
                else:
                    yield self._episode(promise, camera, promise.spans[camera], data)

    def _episode(self, promise: Promise, camera: str, span: Span, data: Data) -> Episode:
        facts = measure(span.video)
        return Episode(
            name=promise.name,
            camera=camera,
            task=data.task,
            caption=data.task,
            footage=Film(span.video, span.start),
            frames=promise.length,
            fps=self.fps,
            height=facts.height,
            width=facts.width,
            states=data.states,
            actions=data.actions,
            session=promise.session,
            robot=str(self.info.get("robot_type") or ""),
            note=data.note,
        )

    def _fault(self, promise: Promise, camera: str) -> str:
        """Why this recording cannot be used, or ''."""
        if camera not in self.present:
            return "camera named in info.json but absent on disk"
        if _is_depth(self.info["features"][camera]):
            return "a depth map, not a picture"
        if camera not in promise.spans:
            return "the episode names no video for this camera"
        span = promise.spans[camera]
        try:
            facts = measure(self.shelf.bring(span.video))
        except DataError as error:
            return error.what
        if not same_rate(span, facts.fps, self.fps):
            return f"the video's frame rate is not the dataset's ({facts.fps:g}, not {self.fps:g} fps)"
        there = max(0, min(facts.frames - span.start, span.frames))
        if there < promise.length:
            return f"fewer frames than the metadata promise ({there} of {promise.length})"
        return ""

    def data(self, promise: Promise) -> Data:
        """The episode's rows; without a data file, the task text of the episode list alone."""
        rows = self._rows(promise)
        texts = self._texts(promise, rows)
        note = f"{len(texts)} task texts, the first is used" if len(texts) > 1 else ""
        task = texts[0] if texts else ""
        if rows is None:
            return Data(None, None, 0, task, note or "no data rows")
        states, actions = (read_column(rows, name, promise.data) for name in (STATE, ACTION))
        return Data(states, actions, len(rows), task, note)

    def _texts(self, promise: Promise, rows: pa.Table | None) -> list[str]:
        if not self._description or rows is None or self._description not in rows.column_names:
            return texts_of(promise.tasks)
        indices = rows.column(self._description).unique().to_pylist()
        return texts_of(self.task_texts[index] for index in indices if index in self.task_texts)

    def _rows(self, promise: Promise) -> pa.Table | None:
        if not self.shelf.has(promise.data):
            return None
        table = read_table(self.shelf.bring(promise.data))
        if self.version == 2:
            return table
        if "episode_index" not in table.column_names:
            raise DataError("there is no column episode_index", where=str(promise.data), mend="Restore the file.")
        return table.filter(pc.equal(table.column("episode_index"), promise.index))

    def problems(self) -> list[Problem]:
        return find_problems(self)


def _major(version: str, path: str) -> int:
    for major in (2, 3):
        if version.startswith(f"v{major}."):
            return major
    raise DataError(f"LeRobot {version} cannot be read", where=path, mend="Convert the dataset to v3.0 with lerobot.")


def _is_depth(feature: dict[str, object]) -> bool:
    for key in ("info", "video_info"):
        info = feature.get(key)
        if isinstance(info, dict) and (info.get("is_depth_map") or info.get("video.is_depth_map")):
            return True
    return False
