"""LeRobot datasets of versions 2.0, 2.1 and 3.0, read in place, without the lerobot package."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from worldtune.data.captioning.captions import control_character_note
from worldtune.data.columns import Columns
from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.sources.lerobot.columns import check_columns, feature_names
from worldtune.data.sources.lerobot.frames import RecordingFrames, check_not_depth, find_image_frames, find_video_frames
from worldtune.data.sources.lerobot.metadata import EpisodeMetadata, metadata_files, read_episode_metadata
from worldtune.data.sources.lerobot.metadata_files import read_info
from worldtune.data.sources.lerobot.rows import RowChecks, Rows, read_rows
from worldtune.data.sources.lerobot.splits import read_splits
from worldtune.data.sources.lerobot.tasks import description_column, drop_flags, read_tasks, task_parts
from worldtune.data.sources.lerobot.validate import find_problems
from worldtune.data.sources.path_checks import links_note
from worldtune.data.sources.storage import Storage
from worldtune.errors import DataError

ABSENT_CAMERA = "camera in info.json but not on disk"


@dataclass(frozen=True, eq=False)
class EpisodeRows:
    """An episode's rows, or None; (first frame, task text) at each change of task; and a note for the ledger."""

    rows: Rows | None
    parts: list[tuple[int, str]]
    note: str = ""

    @property
    def tasks(self) -> list[str]:
        return [text for _, text in self.parts]


@dataclass(frozen=True)
class CheckedRows:
    """The tasks, note and checks of an episode's rows, from which problems are found."""

    tasks: list[str]
    note: str
    checks: RowChecks


class LeRobotSource:
    """One dataset folder. Raise DataError if its metadata cannot be read or name no camera."""

    def __init__(self, path: str, folder: Path, storage: Storage, columns: Columns) -> None:
        self.path = path
        self.storage = storage
        self.folder = folder
        self.info = read_info(folder / "meta" / "info.json")
        self.version = _major_version(str(self.info["codebase_version"]), path)
        self.kind = f"LeRobot {self.info['codebase_version']}"
        self.fps = float(self.info["fps"])
        features = self.info["features"]
        self.cameras = [name for name, feature in features.items() if feature.get("dtype") in ("video", "image")]
        self.video_cameras = [name for name in self.cameras if features[name]["dtype"] == "video"]
        if not self.cameras:
            raise DataError("no feature is of dtype video or image", where=path, hint="Record it with cameras.")
        if self.video_cameras and not self.info.get("video_path"):
            hint = "Add it: the path template of a camera's videos, with the fields of lerobot's video_path."
            raise DataError("info.json has no video_path", where=path, hint=hint)
        check_columns(columns, features, path)
        self.columns = columns
        self.state_names = feature_names(features, columns.states)
        self.episode_metadata = read_episode_metadata(folder, self.info, self.version, self.video_cameras)
        self.predefined_splits = read_splits(self.info.get("splits", {}), self.episode_metadata)
        self.task_texts = read_tasks(folder, self.version)
        self._description = description_column(folder)
        self._metadata = metadata_files(folder)
        self.checked_rows: dict[int, CheckedRows] = {}  # of the episodes that were read
        self.available_cameras = [
            camera for camera in self.cameras if any(self._has_files(p, camera) for p in self.episode_metadata)
        ]

    def _has_files(self, metadata: EpisodeMetadata, camera: str) -> bool:
        if camera not in self.video_cameras:
            return self.storage.has(metadata.data)
        return camera in metadata.spans and self.storage.has(metadata.spans[camera].video)

    @property
    def count(self) -> int:
        return len(self.episode_metadata)

    @cached_property
    def tasks(self) -> list[str]:
        """The task texts by the rows, or by the episode list if an episode's rows cannot be read."""
        texts = (text for metadata in self.episode_metadata for text in self._try_read_rows(metadata)[0].tasks)
        return [text for text in dict.fromkeys(texts) if text]

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        for metadata in self.episode_metadata:
            data, unreadable = self._try_read_rows(metadata)
            for camera in cameras:
                found = unreadable or self._try_find_frames(metadata, camera, data.rows)
                if isinstance(found, str):
                    task, *later = data.tasks
                    rest = found, metadata.session, tuple(later)
                    yield SkippedRecording(metadata.name, camera, task, task, metadata.length, self.fps, *rest)
                else:
                    yield self._episode(metadata, camera, data, found)

    def _try_read_rows(self, metadata: EpisodeMetadata) -> tuple[EpisodeRows, str]:
        """Return the episode's rows, and why they cannot be read, or ""."""
        try:
            return self.read_episode_rows(metadata), ""
        except DataError as error:
            return self._from_episode_list(metadata, None), error.what

    def _try_find_frames(self, metadata: EpisodeMetadata, camera: str, rows: Rows | None) -> RecordingFrames | str:
        try:
            return self._frames(metadata, camera, rows)
        except DataError as error:
            return error.what

    def _episode(self, metadata: EpisodeMetadata, camera: str, data: EpisodeRows, frames: RecordingFrames) -> Episode:
        rows = data.rows
        links = links_note([metadata.data, *self._metadata], self.folder)
        controls = (control_character_note(text) for text in data.tasks)
        return Episode(
            name=metadata.name,
            camera=camera,
            task=data.tasks[0],
            caption=data.tasks[0],
            footage=frames.footage,
            frames=metadata.length,
            fps=self.fps,
            height=frames.height,
            width=frames.width,
            states=rows.states if rows else None,
            actions=rows.actions if rows else None,
            gaps=tuple(sorted({*frames.gaps, *(rows.gaps(self.fps) if rows else ())})),
            session=metadata.session,
            robot=str(self.info.get("robot_type") or ""),
            note="; ".join(dict.fromkeys(filter(None, [data.note, frames.note, links, *controls]))),
            parts=tuple(part for part in data.parts if part[0] < metadata.length) if len(data.parts) > 1 else (),
        )

    def _frames(self, metadata: EpisodeMetadata, camera: str, rows: Rows | None) -> RecordingFrames:
        """Return the recording's frames. Raise DataError with the reason why they cannot be used."""
        if camera not in self.available_cameras:
            raise DataError(ABSENT_CAMERA, where=self.path, hint="Restore it, or choose other cameras.")
        check_not_depth(camera, self.info["features"][camera])
        if camera not in self.video_cameras:
            return find_image_frames(self.storage, camera, metadata, self.version, self.folder)
        if camera not in metadata.spans:
            what = "the episode names no video for this camera"
            raise DataError(what, where=self.path, hint="Restore meta/episodes.")
        return find_video_frames(self.storage, metadata.spans[camera], metadata, rows, self.fps, self.folder)

    def read_episode_rows(self, metadata: EpisodeMetadata) -> EpisodeRows:
        """Return the episode's rows, or its listed task without a data file. Raise DataError if it cannot be read."""
        if not self.storage.has(metadata.data):
            return self._from_episode_list(metadata, None)
        file = self.storage.fetch(metadata.data)
        rows = read_rows(file, metadata, self.version, self.columns, self._description)
        parts = [] if rows.tasks is None else task_parts(rows.tasks, self.task_texts)
        episode_rows = (
            EpisodeRows(rows, parts) if any(text for _, text in parts) else self._from_episode_list(metadata, rows)
        )
        self.checked_rows[metadata.index] = CheckedRows(episode_rows.tasks, episode_rows.note, rows.checks(self.fps))
        return episode_rows

    def check_rows(self, metadata: EpisodeMetadata) -> CheckedRows:
        """Return the checks of an episode with a data file. Raise DataError if it cannot be read."""
        if metadata.index not in self.checked_rows:
            self.read_episode_rows(metadata)
        return self.checked_rows[metadata.index]

    def _from_episode_list(self, metadata: EpisodeMetadata, rows: Rows | None) -> EpisodeRows:
        """Return the task of the episode list: one text applies to all rows, several texts to none."""
        texts, rows_have_no_tasks = drop_flags(metadata.tasks), rows is None or rows.tasks is None
        notes = ["" if rows else "no data rows"]
        if not rows_have_no_tasks and self._description:
            texts = []  # in GR00T's flavor only that column describes an episode
        elif len(texts) > 1:
            notes.append(f"no row says which of its {len(texts)} task texts applies")
        elif texts and not rows_have_no_tasks:
            notes.append("its rows name no known task: the episode list's text is used")
        return EpisodeRows(rows, [(0, texts[0] if len(texts) == 1 else "")], "; ".join(filter(None, notes)))

    def problems(self) -> list[Problem]:
        return find_problems(self)


def _major_version(version: str, path: str) -> int:
    for major in (2, 3):
        if version.startswith(f"v{major}."):
            return major
    raise DataError(f"LeRobot {version} cannot be read", where=path, hint="Convert the dataset to v3.0 with lerobot.")
