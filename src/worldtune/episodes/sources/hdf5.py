"""robomimic's HDF5 files, read in place: `data/demo_N` with `actions` and `obs/…`, pictures as uint8 arrays.

Format: robomimic.github.io, "Dataset structure"; LIBERO's files are of it (github.com/Lifelong-Robot-Learning/LIBERO).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Place
from worldtune.episodes.looks import Looks, remembered_looks
from worldtune.episodes.seen import state_of
from worldtune.episodes.sources.hdf5_contents import Contents, Demo, contents_of, opened
from worldtune.episodes.sources.hdf5_extent import read_pictures
from worldtune.episodes.sources.links import as_text, note_of_link, why_unreadable
from worldtune.errors import DataError

SUFFIXES = (".hdf5", ".h5")


@dataclass(frozen=True)
class Pictures:
    """A dataset of pictures (T, H, W, 3) in an HDF5 file."""

    file: Path
    name: str

    @property
    def places(self) -> tuple[Place, ...]:
        return ((self.file, self.name),)

    @property
    def arrangement(self) -> str:
        return ""

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        with opened(self.file) as file:
            yield from read_pictures(file[self.name], wanted)

    def looks(self, frames: int) -> Looks:
        def every() -> Iterator[np.ndarray]:
            with opened(self.file) as file:
                pictures = file[self.name]
                yield from (frame_HWC for _, frame_HWC in read_pictures(pictures, range(len(pictures))))

        return remembered_looks(self.file, self.name, every).part(0, frames)


class Hdf5Source:
    """A file or a folder of files; each is a session. Names are `file/demo_N`, or `demo_N` of a single file.

    `recorded_fps` is the rate of the files whose env_args have no control_freq.
    """

    kind = "robomimic HDF5"

    def __init__(self, path: str, place: Path, recorded_fps: float | None) -> None:
        self.path = path
        self._fps = recorded_fps
        self._folder = place if place.is_dir() else None  # a file that is named may be a link
        inside = [place] if place.is_file() else sorted(place.iterdir())
        self._files = [file for file in inside if file.suffix in SUFFIXES]
        self._contents: dict[Path, Contents] = {}
        self._faults: dict[Path, str] = {}
        for file in self._files:
            try:
                if fault := why_unreadable(file):
                    raise DataError(fault, where=as_text(str(file)), mend="Restore it, or leave it out.")
                self._contents[file] = contents_of(file, state_of(file))
            except DataError as error:
                self._faults[file] = error.what
        demos = [demo for contents in self._contents.values() for demo in contents.demos]
        found = {(camera, isinstance(size, str)) for demo in demos for camera, size in demo.cameras.items()}
        self.cameras = sorted({camera for camera, _ in found})
        self.state_names: list[str] = []
        self.present = sorted({camera for camera, is_fault in found if not is_fault})
        if not self.present:
            reasons = [*self._faults.values(), *(why for demo in demos for why in (demo.fault, *demo.cameras.values()))]
            said = (why for why in reasons if isinstance(why, str) and why)
            fault = next(said, "no demonstration has pictures in obs/")
            raise DataError(fault, where=path, mend="Write the observations with pictures, as uint8 (T, H, W, 3).")
        silent = [file for file, contents in self._contents.items() if contents.fps is None]
        if silent and recorded_fps is None:
            mend = "Add data.recorded_fps (inspect, check: --recorded-fps), the rate they were recorded at."
            raise DataError("the file does not say its frame rate", where=str(silent[0]), mend=mend)
        if recorded_fps is not None and not silent:
            what = "recorded_fps is given, but env_args state the frame rate"
            raise DataError(what, where=path, mend="Leave it out.")

    @property
    def count(self) -> int:
        return sum(len(contents.demos) for contents in self._contents.values()) + len(self._faults)

    @property
    def tasks(self) -> list[str]:
        every = (demo.task for contents in self._contents.values() for demo in contents.demos)
        return list(dict.fromkeys(task for task in every if task))

    def _session(self, file: Path) -> str:
        alike = [other for other in self._files if other.stem == file.stem]
        return as_text(file.stem if len(alike) == 1 else file.name)

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for file in self._files:
            session = self._session(file)
            if file in self._faults:
                lost = (Lost(session, camera, "", "", 0, None, self._faults[file], session) for camera in cameras)
                yield from lost
                continue
            for demo in self._contents[file].demos:
                yield from self._demo(file, demo, cameras)

    def _demo(self, file: Path, demo: Demo, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        """The demonstration through every camera; in what is read now there may be damage."""
        contents, session = self._contents[file], self._session(file)
        name = demo.name if len(self._files) == 1 else f"{session}/{demo.name}"
        fps = contents.fps or self._fps or 0.0
        for camera in cameras:
            try:
                frames, height, width = _size(demo, camera, file)
                footage = Pictures(file, f"data/{demo.name}/obs/{camera}")
                footage.looks(frames)  # all of them can be read
                states, actions = _rows(file, demo)
            except DataError as error:
                yield Lost(name, camera, demo.task, demo.task, 0, fps, error.what, session)
                continue
            yield Episode(
                name=name,
                camera=camera,
                task=demo.task,
                caption=demo.task,
                footage=footage,
                frames=frames,
                fps=fps,
                height=height,
                width=width,
                states=states,
                actions=actions,
                session=session,
                robot=contents.robot,
                note=note_of_link(file, self._folder) if self._folder else "",
            )

    def problems(self) -> list[Problem]:
        found = [Problem("warning", as_text(file.name), fault) for file, fault in self._faults.items()]
        for file, contents in self._contents.items():
            for demo in contents.demos:
                found += _problems(f"{file.name} {demo.name}", demo)
        return found


def _size(demo: Demo, camera: str, file: Path) -> tuple[int, int, int]:
    """(T, H, W). Raises DataError with the reason when there are no pictures."""
    size = demo.fault or demo.cameras.get(camera, "the demonstration has no pictures of this camera")
    if isinstance(size, tuple) and not size[0]:
        size = "the demonstration has no frames"
    if isinstance(size, str):
        raise DataError(size, where=f"{file} {demo.name}", mend="Write it again, or leave it out.")
    return size


def _rows(file: Path, demo: Demo) -> tuple[np.ndarray | None, np.ndarray | None]:
    """States, where all are of one length, and actions."""
    with opened(file) as opened_file:
        group = opened_file[f"data/{demo.name}"]
        parts = [_flat(group[f"obs/{key}"]) for key in sorted(demo.rows) if key != "actions"]
        actions = _flat(group["actions"]) if "actions" in demo.rows else None
    alike = len({len(part) for part in parts}) == 1
    return np.concatenate(parts, axis=1) if alike else None, actions


def _flat(rows: Any) -> np.ndarray:
    array = np.asarray(rows, np.float32)
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _problems(where: str, demo: Demo) -> Iterator[Problem]:
    if demo.fault:
        yield Problem("warning", where, demo.fault)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(demo.rows.items()))
    if len(set(demo.rows.values())) > 1:
        yield Problem("error", where, f"rows of unlike number: {counts}")
    for camera, size in demo.cameras.items():
        if isinstance(size, str):
            yield Problem("warning", where, f"{camera}: {size}", camera)
        elif set(demo.rows.values()) - {size[0]}:
            yield Problem("error", where, f"{camera}: {size[0]} frames, but rows: {counts}", camera)
