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
from worldtune.errors import DataError, first_line

PROPRIOCEPTION = re.compile(r"robot\d+_(joint_pos|eef_pos|eef_quat|gripper_qpos)$|(joint|gripper|ee)_states$")
CAMERA = ("_depth", "_image", "_rgb")
MEND = "Write it as robomimic does: data/demo_0."


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
        group = _part(file, "data")
        if group is None or not hasattr(group, "keys"):
            raise DataError("there is no group data", where=str(path), mend=MEND)
        about, problem = (_json(group, name, path) for name in ("env_args", "problem_info"))
        task = _text(problem.get("language_instruction")) or _text(about.get("language_instruction"))
        names = sorted(_names(group), key=lambda name: (len(name), name))
        if not names:
            raise DataError("there is no demonstration in the group data", where=str(path), mend=MEND)
        settings = about.get("env_kwargs")
        fps, robot = _rate_and_robot(settings if isinstance(settings, dict) else {})
        return Contents([_demo(group, name, task) for name in names], fps, robot)


def _rate_and_robot(settings: dict[str, Any]) -> tuple[float | None, str]:
    fps, robots = settings.get("control_freq"), settings.get("robots")
    robot = "+".join(map(str, robots)) if isinstance(robots, list) else _text(robots)
    if isinstance(fps, int | float) and 0 < fps < 1e6:  # JSON's Infinity and NaN are no rates
        return float(fps), robot
    return None, robot


def _demo(group: Any, name: str, task: str) -> Demo:
    try:
        demo = _part(group, name)
        if not hasattr(demo, "keys"):
            raise _fault(group, "not a group", name)
        said = demo.attrs.get("language_instruction", demo.attrs.get("task", task))
        actions, observed = _rows(demo, "actions"), _part(demo, "obs")
        rows = {} if actions is None else {"actions": actions}
        cameras: dict[str, tuple[int, int, int] | str] = {}
        if observed is not None and not hasattr(observed, "keys"):
            raise _fault(demo, "not a group", "obs")
        for key in [] if observed is None else _names(observed):
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
        found = _part(observed, key)
    except DataError as error:
        return error.what if key.endswith(CAMERA) else None
    shape: Any = getattr(found, "shape", None) or ()
    if len(shape) != 4:
        return f"not pictures of uint8 (T, H, W, 3), but {_kind(found)}" if key.endswith(CAMERA) else None
    if found.dtype != np.uint8 or shape[3] != 3 or not shape[1] * shape[2]:
        return f"not pictures of uint8 (T, H, W, 3), but {_kind(found)}"
    if _is_elsewhere(found):
        return f"a dataset of another file ({key})"
    T, H, W, _ = shape
    return T, H, W


def _rows(group: Any, name: str) -> int | None:
    """How many rows of numbers; None when there is nothing of that name. Raises DataError for anything else."""
    found = _part(group, name)
    if found is None:
        return None
    if not getattr(found, "shape", None) or found.dtype.kind not in "fiub":
        raise _fault(group, "not rows of numbers", name)
    if _is_elsewhere(found):
        raise _fault(group, "a dataset of another file", name)
    return len(found)


def _is_elsewhere(dataset: Any) -> bool:
    """Such a part is not covered by the file's digest."""
    return bool(dataset.is_virtual or dataset.external)


def _kind(found: Any) -> str:
    return f"{found.dtype} {found.shape}" if hasattr(found, "shape") else "a group"


def _part(group: Any, name: str) -> Any:
    """The group's part of that name, None if it has none. Raises DataError for a link to nothing or out of the file."""
    link = group.get(name, getlink=True)
    if link is None:
        return None
    try:
        found = None if type(link).__name__ == "ExternalLink" else group[name]
    except (KeyError, OSError, RuntimeError) as error:
        raise _fault(group, "a link to nothing, or damaged", name) from error
    if found is None or found.file.filename != group.file.filename:
        raise _fault(group, "a link out of the file", name)
    return found


def _names(group: Any) -> list[str]:
    names = list(group.keys())
    if not all(isinstance(name, str) for name in names):  # h5py gives what is no UTF-8 as bytes
        raise _fault(group, "a name that is no UTF-8", group.name)
    return names


def _fault(group: Any, what: str, name: str) -> DataError:
    return DataError(f"{what} ({name})", where=group.file.filename, mend=MEND)


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
