"""robomimic's HDF5 files, read in place: `data/demo_N` with `actions` and `obs/…`, pictures as uint8 arrays.

Format: robomimic.github.io, "Dataset structure"; LIBERO's files are of it (github.com/Lifelong-Robot-Learning/LIBERO).
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Place
from worldtune.episodes.looks import Looks, look_at
from worldtune.episodes.seen import remembered, state_of
from worldtune.errors import DataError, first_line

SUFFIXES = (".hdf5", ".h5")
PROPRIOCEPTION = re.compile(r"robot\d+_(joint_pos|eef_pos|eef_quat|gripper_qpos)$|(joint|gripper|ee)_states$")


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
            pictures = file[self.name]
            for number in wanted:
                if number < len(pictures):
                    yield number, np.asarray(pictures[number])

    def looks(self, frames: int) -> Looks:
        what = f"looks 1 of {self.name}"

        def look() -> dict[str, bytes]:
            with opened(self.file) as file:
                return {what: look_at(np.asarray(frame_HWC) for frame_HWC in file[self.name]).to_bytes()}

        return Looks.from_bytes(remembered(self.file, what, look)).part(0, frames)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The open file. Raises DataError when the package is missing or the file cannot be read."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            "reading HDF5 needs the h5py package", where=str(path), mend="pip install 'worldtune[sources]'."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, UnicodeDecodeError) as error:
        what = f"the HDF5 file cannot be read: {first_line(error)}"
        raise DataError(what, where=str(path), mend="Copy it again.") from error


@dataclass(frozen=True)
class Demo:
    """What a demonstration is said to hold: per camera (frames, height, width), or why its pictures are none."""

    name: str
    task: str
    cameras: dict[str, tuple[int, int, int] | str]
    rows: dict[str, int]


@dataclass(frozen=True)
class Contents:
    demos: list[Demo]
    fps: float | None
    robot: str


@lru_cache(maxsize=4096)
def contents_of(path: Path, state: str) -> Contents:
    """What the file holds; `state` is another whenever the file is. Raises DataError when it is of another layout."""
    with opened(path) as file:
        if "data" not in file or not hasattr(file["data"], "keys"):
            raise DataError("there is no group data", where=str(path), mend="Write it as robomimic does: data/demo_0.")
        group = file["data"]
        about = _json(group.attrs.get("env_args", "{}"), path)
        problem = _json(group.attrs.get("problem_info", "{}"), path)
        settings = about.get("env_kwargs") or {}
        fps = settings.get("control_freq") if isinstance(settings, dict) else None
        robots = settings.get("robots", "") if isinstance(settings, dict) else ""
        task = problem.get("language_instruction") or about.get("language_instruction") or ""
        names = sorted(group.keys(), key=lambda name: (len(name), name))
        demos = [_demo(group[name], name, _text(task)) for name in names]
        robot = robots if isinstance(robots, str) else "+".join(map(str, robots))
        return Contents(demos, float(fps) if isinstance(fps, int | float) and fps > 0 else None, robot)


def _demo(group: Any, name: str, task: str) -> Demo:
    observed = group.get("obs", {}) if hasattr(group, "get") else {}
    said = group.attrs.get("language_instruction", group.attrs.get("task", task))
    cameras: dict[str, tuple[int, int, int] | str] = {}
    for key in observed:
        shape: Any = getattr(observed[key], "shape", ())
        if len(shape) == 4 and observed[key].dtype == np.uint8 and shape[3] == 3:
            cameras[key] = shape[:3]
        elif len(shape) == 4 or key.endswith(("_depth", "_image", "_rgb")):
            cameras[key] = f"not pictures of uint8 (T, H, W, 3), but {getattr(observed[key], 'dtype', '')} {shape}"
    rows = {key: len(observed[key]) for key in observed if PROPRIOCEPTION.search(key)}
    if "actions" in group:
        rows["actions"] = len(group["actions"])
    return Demo(name, _text(said), cameras, rows)


def _json(text: Any, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError) as error:
        raise DataError(f"its env_args are no JSON: {error}", where=str(path), mend="Restore the file.") from error
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Hdf5Source:
    """A file or a folder of files; each is a session. Names are `file/demo_N`, or `demo_N` of a single file.

    `recorded_fps` is needed where env_args has no control_freq.
    """

    kind = "robomimic HDF5"

    def __init__(self, path: str, place: Path, recorded_fps: float | None) -> None:
        self.path = path
        self._fps = recorded_fps
        inside = [place] if place.is_file() else sorted(place.iterdir())
        self._files = [file for file in inside if file.suffix in SUFFIXES]
        self._contents: dict[Path, Contents] = {}
        self._faults: dict[Path, str] = {}
        for file in self._files:
            try:
                self._contents[file] = contents_of(file, state_of(file))
            except DataError as error:
                self._faults[file] = error.what
        demos = [demo for contents in self._contents.values() for demo in contents.demos]
        found = {(camera, isinstance(size, str)) for demo in demos for camera, size in demo.cameras.items()}
        self.cameras = sorted({camera for camera, _ in found})
        self.present = sorted({camera for camera, is_fault in found if not is_fault})
        if not self.present:
            fault = next(iter(self._faults.values()), "no demonstration has pictures in obs/")
            raise DataError(fault, where=path, mend="Write the observations with pictures, as uint8 (T, H, W, 3).")
        if any(contents.fps is None for contents in self._contents.values()) and recorded_fps is None:
            mend = "Add data.recorded_fps (inspect, check: --recorded-fps), the rate they were recorded at."
            raise DataError("the file does not say its frame rate", where=path, mend=mend)

    @property
    def count(self) -> int:
        return sum(len(contents.demos) for contents in self._contents.values()) + len(self._faults)

    @property
    def tasks(self) -> list[str]:
        every = (demo.task for contents in self._contents.values() for demo in contents.demos)
        return list(dict.fromkeys(task for task in every if task))

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for file in self._files:
            if file in self._faults:
                yield from (Lost(file.stem, camera, "", "", 0, None, self._faults[file]) for camera in cameras)
                continue
            contents = self._contents[file]
            fps = self._fps or contents.fps or 0.0
            for demo in contents.demos:
                states, actions = self._rows(file, demo)
                for camera in cameras:
                    yield self._recording(file, demo, camera, fps, contents.robot, states, actions)

    def _recording(
        self,
        file: Path,
        demo: Demo,
        camera: str,
        fps: float,
        robot: str,
        states: np.ndarray | None,
        actions: np.ndarray | None,
    ) -> Episode | Lost:
        name = demo.name if len(self._files) == 1 else f"{file.stem}/{demo.name}"
        size = demo.cameras.get(camera, "the demonstration has no pictures of this camera")
        if isinstance(size, str):
            return Lost(name, camera, demo.task, demo.task, 0, fps, size, session=file.stem)
        frames, height, width = size
        return Episode(
            name=name,
            camera=camera,
            task=demo.task,
            caption=demo.task,
            footage=Pictures(file, f"data/{demo.name}/obs/{camera}"),
            frames=frames,
            fps=fps,
            height=height,
            width=width,
            states=states,
            actions=actions,
            session=file.stem,
            robot=robot,
        )

    def _rows(self, file: Path, demo: Demo) -> tuple[np.ndarray | None, np.ndarray | None]:
        with opened(file) as opened_file:
            group = opened_file[f"data/{demo.name}"]
            parts = [np.asarray(group[f"obs/{key}"], np.float32) for key in sorted(demo.rows) if key != "actions"]
            actions = np.asarray(group["actions"], np.float32) if "actions" in demo.rows else None
        alike = len({len(part) for part in parts}) == 1
        states = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1) if alike else None
        return states, None if actions is None else actions.reshape(len(actions), -1)

    def problems(self) -> list[Problem]:
        found = [Problem("warning", file.name, fault) for file, fault in self._faults.items()]
        for file, contents in self._contents.items():
            for demo in contents.demos:
                where = f"{file.name} {demo.name}"
                for camera, size in demo.cameras.items():
                    if isinstance(size, str):
                        found.append(Problem("warning", where, f"{camera}: {size}", camera))
                if len(set(demo.rows.values())) > 1:
                    counts = ", ".join(f"{name} {count}" for name, count in sorted(demo.rows.items()))
                    found.append(Problem("error", where, f"rows of unlike number: {counts}"))
        return found
