"""ALOHA's HDF5 files, read in place: one file per episode, images as pixels or as padded JPEGs.

Format: see `aloha/contents.py`. The rate is the recorder's constant (constants.py: DT = 0.02).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.ledger import DEPTH, MASK
from worldtune.data.sources.aloha.contents import SIGNALS, AlohaContents, read_contents
from worldtune.data.sources.array_consistency import find_inconsistent_arrays
from worldtune.data.sources.hdf5.images import Hdf5Images
from worldtune.data.sources.path_checks import displayable_name, link_note, unreadable_reason
from worldtune.data.sources.robomimic.contents import open_hdf5
from worldtune.data.video.file_cache import file_state
from worldtune.errors import DataError

DEFAULT_FPS = 50.0
COLORS = "its JPEGs are decoded as stored; the first ALOHA scripts stored red and blue swapped: check --sheet"


@dataclass
class AlohaSource:
    """A file or a folder of files, each an episode; the session is the folder.

    `recorded_fps` is the rate of all files; the default is the original recorder's 50.
    """

    path: str
    root: Path
    recorded_fps: float | None
    files: list[Path]
    kind: str = "ALOHA HDF5"
    state_names: list[str] = field(default_factory=list)
    predefined_splits: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._folder = self.root if self.root.is_dir() else None
        self._contents: dict[Path, AlohaContents | str] = {}
        for file in self.files:
            try:
                if fault := unreadable_reason(file):
                    raise DataError(fault, where=displayable_name(str(file)), hint="Restore it, or remove it.")
                self._contents[file] = read_contents(file, file_state(file))
            except DataError as error:
                self._contents[file] = error.what
        self.cameras = sorted({camera for contents in self._readable.values() for camera in contents.cameras})
        self.available_cameras = self.cameras
        if not any(
            isinstance(size, tuple) for contents in self._readable.values() for size in contents.cameras.values()
        ):
            file, fault = self._first_fault()
            raise DataError(fault, where=displayable_name(str(file)), hint="Copy it again, or write it as ALOHA does.")

    @property
    def _readable(self) -> dict[Path, AlohaContents]:
        return {file: contents for file, contents in self._contents.items() if isinstance(contents, AlohaContents)}

    def _first_fault(self) -> tuple[Path, str]:
        for file, contents in self._contents.items():
            reasons = [contents] if isinstance(contents, str) else contents.cameras.values()
            for reason in reasons:
                if isinstance(reason, str):
                    return file, reason
        return self.files[0], "no images in observations/images"

    @property
    def count(self) -> int:
        return len(self.files)

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(contents.task for contents in self._readable.values() if contents.task))

    @property
    def fps(self) -> float:
        return self.recorded_fps or DEFAULT_FPS

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        for file, contents in self._contents.items():
            name, session = displayable_name(file.stem), displayable_name(file.absolute().parent.name)
            for camera in cameras:
                task = "" if isinstance(contents, str) else contents.task
                try:
                    if isinstance(contents, str):
                        raise DataError(contents, where=str(file), hint="Copy it again.")
                    yield self._episode(file, contents, camera, name, session)
                except DataError as error:
                    yield SkippedRecording(name, camera, task, task, 0, self.fps, error.what, session)

    def _episode(self, file: Path, contents: AlohaContents, camera: str, name: str, session: str) -> Episode:
        size = contents.cameras.get(camera, "the recording has no images of this camera")
        if isinstance(size, tuple) and not size[0]:
            size = "the recording has no frames"
        if isinstance(size, str):
            raise DataError(size, where=str(file), hint="Remove it.")
        footage = Hdf5Images(file, f"observations/images/{camera}", camera in contents.packed)
        footage.frame_features(size[0])  # raises if one cannot be read
        rate = "" if self.recorded_fps else f"{DEFAULT_FPS:g} fps, as ALOHA's constants say"
        link = link_note(file, self._folder) if self._folder else ""
        return Episode(
            name=name,
            camera=camera,
            task=contents.task,
            caption=contents.task,
            footage=footage,
            frames=size[0],
            fps=self.fps,
            height=size[1],
            width=size[2],
            states=_rows(file, contents, "observations/qpos"),
            actions=_rows(file, contents, "action"),
            session=session,
            note="; ".join(filter(None, [rate, link])),
        )

    def problems(self) -> list[Problem]:
        problems = []
        for file, contents in self._contents.items():
            where = displayable_name(file.name)
            if isinstance(contents, str):
                problems.append(Problem("warning", where, contents))
                continue
            if contents.unread:
                problems.append(Problem("warning", where, f"not read: {', '.join(contents.unread)}"))
            if contents.packed:
                problems.append(Problem("warning", where, COLORS))
            for camera, size in contents.cameras.items():
                if isinstance(size, str) and size not in (DEPTH, MASK):
                    problems.append(Problem("warning", where, f"{camera}: {size}", camera))
                elif isinstance(size, tuple) and set(contents.rows.values()) - {size[0]}:
                    counts = ", ".join(f"{SIGNALS[name]} {count}" for name, count in contents.rows.items())
                    problems.append(Problem("error", where, f"{camera}: {size[0]} frames, but rows: {counts}", camera))
        names_by_file = {
            displayable_name(file.name): [SIGNALS[name] for name in contents.rows]
            for file, contents in self._readable.items()
        }
        return [*problems, *find_inconsistent_arrays(names_by_file)]


def _rows(file: Path, contents: AlohaContents, name: str) -> np.ndarray | None:
    """Return float32 (T, values), or None if the file has no such array."""
    if name not in contents.rows:
        return None
    with open_hdf5(file) as content:
        array = np.asarray(content[name], np.float32)
    return array.reshape(len(array), -1) if array.size else array.reshape(len(array), 0)
