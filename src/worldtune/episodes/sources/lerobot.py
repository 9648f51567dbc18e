"""LeRobot datasets of versions 2.0, 2.1 and 3.0, read in place, without the lerobot package."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load, save

from worldtune.episodes.captions import note_of_controls
from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Film
from worldtune.episodes.ledger import DEPTH
from worldtune.episodes.scan import measure, scan
from worldtune.episodes.seen import remembered
from worldtune.episodes.sources.lerobot_files import read_column, read_info, read_table
from worldtune.episodes.sources.lerobot_meta import Promise, Span, read_promises, read_tasks, same_rate
from worldtune.episodes.sources.lerobot_problems import find_problems
from worldtune.episodes.sources.links import note_of_link
from worldtune.episodes.sources.shelf import Shelf
from worldtune.episodes.sources.tasks import description_column, texts_of
from worldtune.episodes.windows import jumps
from worldtune.errors import DataError, first_line

STATE, ACTION = "observation.state", "action"


@dataclass(frozen=True, eq=False)
class Data:
    """An episode's rows: states (T, S), actions (T, A) float32, its task text, how many; seconds (T, 1) if stated."""

    states: np.ndarray | None
    actions: np.ndarray | None
    rows: int
    task: str
    note: str
    seconds: np.ndarray | None = None


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

    @cached_property
    def tasks(self) -> list[str]:
        """Raises DataError when the rows name the tasks and cannot be read."""
        described = self.data if self._description else self._without_rows
        return [task for task in dict.fromkeys(described(promise).task for promise in self.promises) if task]

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for promise in self.promises:
            try:
                data, unreadable = self.data(promise), ""
            except DataError as error:
                data, unreadable = self._without_rows(promise), error.what
            for camera in cameras:
                reason = unreadable or self._fault(promise, camera)
                if reason:
                    task = data.task
                    yield Lost(promise.name, camera, task, task, promise.length, self.fps, reason, promise.session)
                else:
                    yield self._episode(promise, camera, promise.spans[camera], data)

    def _episode(self, promise: Promise, camera: str, span: Span, data: Data) -> Episode:
        facts = measure(span.video)
        link = note_of_link(span.video, self.folder) if self.shelf.local else ""  # the Hub's cache is of links
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
            jumps=_jumps(span, promise.length, data),
            session=promise.session,
            robot=str(self.info.get("robot_type") or ""),
            note="; ".join(filter(None, [data.note, facts.note, link, note_of_controls(data.task)])),
        )

    def _fault(self, promise: Promise, camera: str) -> str:
        """Why this recording cannot be used, or ''."""
        if camera not in self.present:
            return "camera named in info.json but absent on disk"
        if _is_depth(self.info["features"][camera]):
            return DEPTH
        if camera not in promise.spans:
            return "the episode names no video for this camera"
        span = promise.spans[camera]
        if promise.length < 1 or span.start < 0:
            return f"the metadata give it {promise.length} frames, from frame {span.start} of its video on"
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
        if not self.shelf.has(promise.data):
            return self._without_rows(promise)
        what = f"rows 2 of {promise.index} in version {self.version}, {self._description}"
        file = self.shelf.bring(promise.data)
        found = load(remembered(file, what, lambda: {what: save(self._rows(promise, file))}))
        texts = self._texts(promise, found.get("texts"))
        states, actions, rows = found.get(STATE), found.get(ACTION), int(found["rows"][0])
        return Data(states, actions, rows, texts[0] if texts else "", _several(texts), found.get("timestamp"))

    def _without_rows(self, promise: Promise) -> Data:
        texts = texts_of(promise.tasks)
        return Data(None, None, 0, texts[0] if texts else "", _several(texts) or "no data rows")

    def _texts(self, promise: Promise, indices: np.ndarray | None) -> list[str]:
        if indices is None:
            return texts_of(promise.tasks)
        return texts_of(self.task_texts[index] for index in indices.tolist() if index in self.task_texts)

    def _rows(self, promise: Promise, file: Path) -> dict[str, np.ndarray]:
        """What is used of the episode's rows: their number, states, actions, and the task indices that describe it."""
        try:
            return self._columns(read_table(file), promise, file)
        except pa.ArrowException as error:  # a column of another kind
            what = f"its columns cannot be understood: {first_line(error)}"
            raise DataError(what, where=str(file), mend="Restore the file.") from error

    def _columns(self, table: pa.Table, promise: Promise, file: Path) -> dict[str, np.ndarray]:
        if self.version == 3:
            if "episode_index" not in table.column_names:
                raise DataError("there is no column episode_index", where=str(file), mend="Restore the file.")
            table = table.filter(pc.equal(table.column("episode_index"), promise.index))
        columns = {name: read_column(table, name, file) for name in (STATE, ACTION, "timestamp", "frame_index")}
        found = {name: column for name, column in columns.items() if column is not None}
        order, counted = np.arange(promise.length)[:, None], found.pop("frame_index", None)
        if counted is not None and len(counted) == len(order) and not np.array_equal(counted, order):
            what = "its rows are not in order: frame_index does not count from 0"
            raise DataError(what, where=str(file), mend="Sort them.")
        if self._description in table.column_names:
            indices = table.column(self._description).unique().to_pylist()
            found["texts"] = np.asarray([index for index in indices if isinstance(index, int)], np.int64)
        return found | {"rows": np.array([len(table)])}

    def problems(self) -> list[Problem]:
        return find_problems(self)


def _jumps(span: Span, length: int, data: Data) -> tuple[tuple[int, float], ...]:
    """Where nothing was recorded, by the video's time stamps or those of the rows."""
    seconds = [scan(span.video).times[span.start : span.start + length]]
    if data.seconds is not None:
        seconds.append(data.seconds[:, 0])
    return tuple(sorted({jump for its in seconds for jump in jumps(its)}))


def _several(texts: Sequence[str]) -> str:
    return f"{len(texts)} task texts, the first is used" if len(texts) > 1 else ""


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
