"""What robomimic's HDF5 files say that they hold, demonstration by demonstration.

Format: robomimic.github.io, "Dataset structure"; LIBERO's files are of it (github.com/Lifelong-Robot-Learning/LIBERO).
Shapes: T frames, H height, W width.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.core.strict_io import parse_json
from worldtune.episodes.sources.hdf5_extent import check_extent, check_sum
from worldtune.episodes.sources.hdf5_links import MEND, fault, names_in, part
from worldtune.errors import DataError, first_line

PROPRIOCEPTION = re.compile(r"robot\d+_(joint_pos|eef_pos|eef_quat|gripper_qpos)$|(joint|gripper|ee)_states$")
CAMERA = ("_depth", "_image", "_rgb")


@dataclass(frozen=True)
class Demo:
    """What a demonstration holds: per camera (T, H, W), or why its pictures are none; rows of states and actions.

    `fault` is why none of it can be used, or "".
    """

    name: str
    task: str
    cameras: dict[str, tuple[int, int, int] | str]
    rows: dict[str, int]
    fault: str = ""


@dataclass(frozen=True)
class Contents:
    """`fps` is None where the file states none."""

    demos: list[Demo]
    fps: float | None
    robot: str


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
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        what = f"the HDF5 file cannot be read: {first_line(error)}"
        raise DataError(what, where=str(path), mend="Copy it again.") from error


@lru_cache(maxsize=4096)
def contents_of(path: Path, state: str) -> Contents:
    """What the file holds; `state` is another whenever the file is. Raises DataError when it is of another layout."""
    with opened(path) as file:
        group = part(file, "data")
        if group is None or not hasattr(group, "keys"):
            raise DataError("there is no group data", where=str(path), mend=MEND)
        about, problem = (_json(group, name, path) for name in ("env_args", "problem_info"))
        task = _text(problem.get("language_instruction")) or _text(about.get("language_instruction"))
        names = sorted(names_in(group), key=lambda name: (len(name), name))
        if not names:
            raise DataError("there is no demonstration in the group data", where=str(path), mend=MEND)
        settings = about.get("env_kwargs")
        fps, robot = _rate_and_robot(settings if isinstance(settings, dict) else {})
        demos = [_demo(group, name, task) for name in names]
        check_sum(_all_numbers(group, demos), path)
        return Contents(demos, fps, robot)


def _all_numbers(group: Any, demos: list[Demo]) -> Iterator[Any]:
    for demo in demos:
        pictures = [camera for camera, size in demo.cameras.items() if not isinstance(size, str)]
        yield from (group[f"{demo.name}/obs/{name}"] for name in [*pictures, *(demo.rows.keys() - {"actions"})])
        if "actions" in demo.rows:
            yield group[f"{demo.name}/actions"]


def _rate_and_robot(settings: dict[str, Any]) -> tuple[float | None, str]:
    fps, robots = settings.get("control_freq"), settings.get("robots")
    robot = "+".join(map(str, robots)) if isinstance(robots, list) else _text(robots)
    if isinstance(fps, int | float) and 0 < fps < 1e6:  # JSON's Infinity and NaN are no rates
        return float(fps), robot
    return None, robot


def _demo(group: Any, name: str, task: str) -> Demo:
    try:
        demo = part(group, name)
        if not hasattr(demo, "keys"):
            raise fault(group, "not a group", name)
        said = demo.attrs.get("language_instruction", demo.attrs.get("task", task))
        actions, observed = _rows(demo, "actions"), part(demo, "obs")
        rows = {} if actions is None else {"actions": actions}
        cameras: dict[str, tuple[int, int, int] | str] = {}
        if observed is not None and not hasattr(observed, "keys"):
            raise fault(demo, "not a group", "obs")
        for key in [] if observed is None else names_in(observed):
            if PROPRIOCEPTION.search(key):
                rows[key] = _rows(observed, key) or 0
            elif (pictures := _pictures(observed, key)) is not None:
                cameras[key] = pictures
    except DataError as error:
        return Demo(name, task, {}, {}, error.what)
    return Demo(name, _text(said), cameras, rows)


def _pictures(observed: Any, key: str) -> tuple[int, int, int] | str | None:
    """(T, H, W), or why there are no pictures, or None for what is no camera's."""
    try:
        found = part(observed, key)
    except DataError as error:
        return error.what if key.endswith(CAMERA) else None
    shape: Any = getattr(found, "shape", None) or ()
    if len(shape) != 4:
        return f"not pictures of uint8 (T, H, W, 3), but {_kind(found)}" if key.endswith(CAMERA) else None
    if found.dtype != np.uint8 or shape[3] != 3 or not shape[1] * shape[2]:
        return f"not pictures of uint8 (T, H, W, 3), but {_kind(found)}"
    if _is_elsewhere(found):
        return f"a dataset of another file ({key})"
    try:
        check_extent(found)
    except DataError as error:
        return error.what
    T, H, W, _ = shape
    return T, H, W


def _rows(group: Any, name: str) -> int | None:
    """How many rows of numbers; None when there is nothing of that name. Raises DataError for anything else."""
    found = part(group, name)
    if found is None:
        return None
    if not getattr(found, "shape", None) or found.dtype.kind not in "fiub":
        raise fault(group, "not rows of numbers", name)
    if _is_elsewhere(found):
        raise fault(group, "a dataset of another file", name)
    check_extent(found)
    return len(found)


def _is_elsewhere(dataset: Any) -> bool:
    """Such a part is not covered by the file's digest."""
    return bool(dataset.is_virtual or dataset.external)


def _kind(found: Any) -> str:
    return f"{found.dtype} {found.shape}" if hasattr(found, "shape") else "a group"


def _json(group: Any, name: str, path: Path) -> dict[str, Any]:
    text, mend = group.attrs.get(name, "{}"), "Restore the file."
    try:
        found = parse_json(text, str(path)) if isinstance(text, str | bytes) else None
    except DataError as error:
        raise DataError(f"its {name}: {error.what}", where=str(path), mend=mend) from error
    if found is None:
        raise DataError(f"its {name}: not a text", where=str(path), mend=mend)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    """A text of the file, what is no UTF-8 in it replaced; "" for what is no text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
