"""robomimic's HDF5 files, read in place: `data/demo_N` with `actions` and `obs/…`, images as uint8 arrays.

Format: robomimic.github.io, "Dataset structure"; also LIBERO (github.com/Lifelong-Robot-Learning/LIBERO).
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.flips import UPSIDE_DOWN
from worldtune.data.ledger import DEPTH, MASK
from worldtune.data.sources.array_consistency import find_inconsistent_arrays
from worldtune.data.sources.hdf5.images import Hdf5Images
from worldtune.data.sources.path_checks import displayable_name, link_note, unreadable_reason
from worldtune.data.sources.robomimic.contents import Contents, Demo, open_hdf5, read_contents
from worldtune.data.sources.robomimic.masks import read_masks
from worldtune.data.video.file_cache import file_state
from worldtune.errors import DataError

HDF5_SUFFIXES = (".hdf5", ".h5")


class RobomimicSource:
    """A file or a folder of files; each is a session. Names are `file/demo_N`, or `demo_N` for a single file.

    `recorded_fps` is the rate of files whose env_args have no control_freq.
    """

    kind = "robomimic HDF5"

    def __init__(self, path: str, root: Path, recorded_fps: float | None) -> None:
        self.path = path
        self._fps = recorded_fps
        self._folder = root if root.is_dir() else None  # a file named directly may be a link
        inside = [root] if root.is_file() else sorted(root.iterdir())
        self._files = [file for file in inside if file.suffix in HDF5_SUFFIXES]
        self._contents: dict[Path, Contents] = {}
        self._faults: dict[Path, str] = {}
        for file in self._files:
            try:
                if reason := unreadable_reason(file):
                    raise DataError(reason, where=displayable_name(str(file)), hint="Restore it, or remove it.")
                self._contents[file] = read_contents(file, file_state(file))
            except DataError as error:
                self._faults[file] = error.what
        demos = [demo for contents in self._contents.values() for demo in contents.demos]
        found = {(camera, isinstance(size, str)) for demo in demos for camera, size in demo.cameras.items()}
        self.cameras = sorted({camera for camera, _ in found})
        self.state_names: list[str] = []
        self.predefined_splits = self._predefined_splits()
        self.available_cameras = self.cameras
        if all(is_fault for _, is_fault in found):
            raise self._no_images_error()
        silent = [file for file, contents in self._contents.items() if contents.fps is None]
        if silent and recorded_fps is None:
            hint = "Add data.recorded_fps (inspect, check: --recorded-fps), the rate they were recorded at."
            raise DataError("the file does not state its frame rate", where=str(silent[0]), hint=hint)
        if recorded_fps is not None and not silent:
            what = "recorded_fps is given, but env_args state the frame rate"
            raise DataError(what, where=path, hint="Remove it.")

    def _no_images_error(self) -> DataError:
        """Return an error with the first reason, and the file that it concerns."""
        for file, reason in self._faults.items():
            return DataError(
                reason, where=displayable_name(str(file)), hint="Copy it again, or write it as robomimic does."
            )
        demos = [(file, demo) for file, contents in self._contents.items() for demo in contents.demos]
        reasons = ((file, cause) for file, demo in demos for cause in (demo.reason, *demo.cameras.values()))
        located = ((str(file), cause) for file, cause in reasons if isinstance(cause, str) and cause)
        where, reason = next(located, (self.path, "no demonstration has images in obs/"))
        return DataError(reason, where=where, hint="Store observations with images, as uint8 (T, H, W, 3).")

    def _predefined_splits(self) -> dict[str, frozenset[str]]:
        """Return the episodes of each mask, of all files."""
        found: dict[str, set[str]] = {}
        for file, contents in self._contents.items():
            names = {demo.name: self._name(file, demo) for demo in contents.demos}
            for mask, demos in read_masks(file, file_state(file)).items():
                found.setdefault(mask, set()).update(names[demo] for demo in demos if demo in names)
        return {mask: frozenset(episodes) for mask, episodes in found.items()}

    def _name(self, file: Path, demo: Demo) -> str:
        return demo.name if len(self._files) == 1 else f"{self._session(file)}/{demo.name}"

    @property
    def count(self) -> int:
        return sum(len(contents.demos) for contents in self._contents.values()) + len(self._faults)

    @property
    def tasks(self) -> list[str]:
        all_tasks = (demo.task for contents in self._contents.values() for demo in contents.demos)
        return list(dict.fromkeys(task for task in all_tasks if task))

    def _session(self, file: Path) -> str:
        alike = [other for other in self._files if other.stem == file.stem]
        return displayable_name(file.stem if len(alike) == 1 else file.name)

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        for file in self._files:
            session = self._session(file)
            if file in self._faults:
                skipped = (
                    SkippedRecording(session, camera, "", "", 0, None, self._faults[file], session)
                    for camera in cameras
                )
                yield from skipped
                continue
            for demo in self._contents[file].demos:
                yield from self._demo(file, demo, cameras)

    def _demo(self, file: Path, demo: Demo, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        """Yield the demonstration by every camera; reading may reveal damage."""
        contents, session = self._contents[file], self._session(file)
        name = self._name(file, demo)
        fps = contents.fps or self._fps or 0.0
        for camera in cameras:
            try:
                frames, height, width = _size(demo, camera, file)
                footage = Hdf5Images(file, f"data/{demo.name}/obs/{camera}")
                footage.frame_features(frames)  # raises if one cannot be read
                states, actions = _rows(file, demo)
            except DataError as error:
                yield SkippedRecording(name, camera, demo.task, demo.task, 0, fps, error.what, session)
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
                note=link_note(file, self._folder) if self._folder else "",
            )

    def problems(self) -> list[Problem]:
        found = [Problem("warning", displayable_name(file.name), reason) for file, reason in self._faults.items()]
        for file, contents in self._contents.items():
            if contents.upside_down:
                found.append(Problem("warning", displayable_name(file.name), UPSIDE_DOWN))
            for demo in contents.demos:
                found += _problems(f"{file.name} {demo.name}", demo)
            found += find_inconsistent_arrays(
                {f"{file.name} {demo.name}": demo.rows for demo in contents.demos if not demo.reason}
            )
        return found


def _size(demo: Demo, camera: str, file: Path) -> tuple[int, int, int]:
    """Return (T, H, W). Raise DataError with the reason if there are no usable images."""
    size = demo.reason or demo.cameras.get(camera, "the demonstration has no images of this camera")
    if isinstance(size, tuple) and not size[0]:
        size = "the demonstration has no frames"
    if isinstance(size, str):
        raise DataError(size, where=f"{file} {demo.name}", hint="Export it again, or remove it.")
    return size


def _rows(file: Path, demo: Demo) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return states, if all are equally long, and actions."""
    with open_hdf5(file) as opened_file:
        group = opened_file[f"data/{demo.name}"]
        parts = [_flat(group[f"obs/{key}"]) for key in sorted(demo.rows) if key != "actions"]
        actions = _flat(group["actions"]) if "actions" in demo.rows else None
    alike = len({len(part) for part in parts}) == 1
    return np.concatenate(parts, axis=1) if alike else None, actions


def _flat(rows: Any) -> np.ndarray:
    array = np.asarray(rows, np.float32)
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _problems(where: str, demo: Demo) -> Iterator[Problem]:
    if demo.reason:
        yield Problem("warning", where, demo.reason)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(demo.rows.items()))
    if len(set(demo.rows.values())) > 1:
        yield Problem("error", where, f"different numbers of rows: {counts}")
    for camera, size in demo.cameras.items():
        if size in (DEPTH, MASK):
            continue
        if isinstance(size, str):
            yield Problem("warning", where, f"{camera}: {size}", camera)
        elif set(demo.rows.values()) - {size[0]}:
            yield Problem("error", where, f"{camera}: {size[0]} frames, but rows: {counts}", camera)
