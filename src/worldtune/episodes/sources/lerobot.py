"""LeRobot datasets of versions 2.0, 2.1 and 3.0, read in place, without the lerobot package."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from worldtune.episodes.captions import note_of_controls
from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Film
from worldtune.episodes.ledger import DEPTH
from worldtune.episodes.scan import Scan, scan
from worldtune.episodes.sources.lerobot_files import read_info
from worldtune.episodes.sources.lerobot_meta import Promise, metadata_files, read_promises, read_tasks, same_rate
from worldtune.episodes.sources.lerobot_problems import find_problems
from worldtune.episodes.sources.lerobot_rows import STATE, Rows, names_of, read_rows
from worldtune.episodes.sources.links import note_of_link, note_of_links
from worldtune.episodes.sources.shelf import Shelf
from worldtune.episodes.sources.tasks import description_column, texts_of
from worldtune.episodes.windows import jumps
from worldtune.errors import DataError


@dataclass(frozen=True, eq=False)
class Described:
    """An episode's rows, None where there is no data file, its task text, and what is to be said of it."""

    rows: Rows | None
    task: str
    note: str


@dataclass(frozen=True)
class RowsSeen:
    """What the problems of an episode's rows are found by."""

    task: str
    count: int
    endless: tuple[str, ...]
    off: float


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
        self.state_names = names_of(features.get(STATE, {}))
        if not self.cameras or not self.info.get("video_path"):
            raise DataError("the dataset has no video features", where=path, mend="Record it with videos.")
        self.promises = read_promises(folder, self.info, self.version, self.cameras)
        self.task_texts = read_tasks(folder, self.version)
        self._description = description_column(folder)
        self._metadata = metadata_files(folder)
        self.rows_seen: dict[int, RowsSeen] = {}  # of the episodes that were read
        self.present = [camera for camera in self.cameras if any(self._there(p, camera) for p in self.promises)]

    def _there(self, promise: Promise, camera: str) -> bool:
        return camera in promise.spans and self.shelf.has(promise.spans[camera].video)

    @property
    def count(self) -> int:
        return len(self.promises)

    @cached_property
    def tasks(self) -> list[str]:
        """Raises DataError when the rows name the tasks and cannot be read."""
        described = self.described if self._description else self._without_rows
        return [task for task in dict.fromkeys(described(promise).task for promise in self.promises) if task]

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for promise in self.promises:
            try:
                data, unreadable = self.described(promise), ""
            except DataError as error:
                data, unreadable = self._without_rows(promise), error.what
            for camera in cameras:
                found = unreadable or self._scanned(promise, camera)
                if isinstance(found, str):
                    task = data.task
                    yield Lost(promise.name, camera, task, task, promise.length, self.fps, found, promise.session)
                else:
                    yield self._episode(promise, camera, data, found)

    def _episode(self, promise: Promise, camera: str, data: Described, seen: Scan) -> Episode:
        span, facts, rows = promise.spans[camera], seen.facts, data.rows
        times_T = seen.times[span.start : span.start + promise.length]
        links = [note_of_link(span.video, self.folder), note_of_links([promise.data, *self._metadata], self.folder)]
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
            states=rows.states if rows else None,
            actions=rows.actions if rows else None,
            jumps=tuple(sorted({*jumps(times_T), *(rows.jumps if rows else ())})),
            session=promise.session,
            robot=str(self.info.get("robot_type") or ""),
            note="; ".join(filter(None, [data.note, facts.note, *links, note_of_controls(data.task)])),
        )

    def _scanned(self, promise: Promise, camera: str) -> Scan | str:
        """What decoding showed of the recording's video, or why it cannot be used."""
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
            seen = scan(self.shelf.bring(span.video))
        except DataError as error:
            return error.what
        if not same_rate(span, seen.facts.fps, self.fps):
            return f"the video's frame rate is not the dataset's ({seen.facts.fps:g}, not {self.fps:g} fps)"
        there = max(0, min(seen.facts.frames - span.start, span.frames))
        if there < promise.length:
            return f"fewer frames than the metadata promise ({there} of {promise.length})"
        return seen

    def described(self, promise: Promise) -> Described:
        """Without a data file, the task text of the episode list alone. Raises DataError when it cannot be read."""
        if not self.shelf.has(promise.data):
            return self._without_rows(promise)
        rows = read_rows(self.shelf.bring(promise.data), promise, self.version, self._description)
        texts = texts_of(promise.tasks) if rows.tasks is None else self._texts(rows.tasks)
        data = Described(rows, texts[0] if texts else "", _several(texts))
        self.rows_seen[promise.index] = RowsSeen(data.task, rows.count, rows.endless, rows.off(self.fps))
        return data

    def look_at_rows(self, promise: Promise) -> RowsSeen:
        """Of an episode whose data file is there. Raises DataError when it cannot be read."""
        self.described(promise)
        return self.rows_seen[promise.index]

    def _without_rows(self, promise: Promise) -> Described:
        texts = texts_of(promise.tasks)
        return Described(None, texts[0] if texts else "", _several(texts) or "no data rows")

    def _texts(self, indices: Sequence[int]) -> list[str]:
        return texts_of(self.task_texts[index] for index in indices if index in self.task_texts)

    def problems(self) -> list[Problem]:
        return find_problems(self)


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
