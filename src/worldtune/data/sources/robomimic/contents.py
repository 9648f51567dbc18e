"""The contents of robomimic's HDF5 files, demonstration by demonstration.

Format: robomimic.github.io, "Dataset structure". LIBERO (github.com/Lifelong-Robot-Learning/LIBERO) and Isaac Lab
(github.com/isaac-sim/IsaacLab, isaaclab/utils/datasets/hdf5_dataset_file_handler.py) write the same format.
Shapes: T frames, H height, W width.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from worldtune.core.strict_io import parse_json
from worldtune.data.sources.hdf5.arrays import FrameShape, count_rows, frame_shape
from worldtune.data.sources.hdf5.extent import check_total_extent
from worldtune.data.sources.hdf5.links import HINT, get_member, hdf5_error, member_names
from worldtune.errors import DataError, first_line

PROPRIOCEPTION = re.compile(
    r"robot\d+_(joint_pos|eef_pos|eef_quat|gripper_qpos)$|(joint|gripper|ee)_states$"
    r"|^((left|right)_)?(joint_pos|eef_pos|eef_quat|gripper_pos)$"  # Isaac Lab's manipulation tasks
)
CAMERA_SUFFIXES = ("_depth", "_image", "_rgb")
SETTINGS_KEYS = ("env_kwargs", "sim_args")


@dataclass(frozen=True)
class Demo:
    """A demonstration: per camera (T, H, W), or why it has no usable images; the number of rows by array.

    `reason` says why none of it can be used, or "".
    """

    name: str
    task: str
    cameras: dict[str, FrameShape | str]
    rows: dict[str, int]
    reason: str = ""


@dataclass(frozen=True)
class Contents:
    """A file's contents. `fps` is None if the file states none; `upside_down`: whether its images are known to be."""

    demos: list[Demo]
    fps: float | None
    robot: str
    upside_down: bool = False


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open the file. Raise DataError if the package is missing or the file cannot be read."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            "reading HDF5 needs the h5py package", where=str(path), hint="pip install 'worldtune[sources]'."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        what = f"the HDF5 file cannot be read: {first_line(error)}"
        raise DataError(what, where=str(path), hint="Copy it again.") from error


@lru_cache(maxsize=4096)
def read_contents(path: Path, state: str) -> Contents:
    """Return the file's contents; `state` changes whenever the file does. Raise DataError for another layout."""
    with open_hdf5(path) as file:
        group = get_member(file, "data")
        if group is None or not hasattr(group, "keys"):
            raise DataError("the group data is missing", where=str(path), hint=HINT)
        env_args, problem = (_json_attribute(group, name, path) for name in ("env_args", "problem_info"))
        task = _as_text(problem.get("language_instruction")) or _as_text(env_args.get("language_instruction"))
        names = sorted(member_names(group), key=lambda name: (len(name), name))
        if not names:
            raise DataError("the group data has no demonstration", where=str(path), hint=HINT)
        fps, robot = _rate_and_robot(env_args)
        demos = [_demo(group, name, task) for name in names]
        check_total_extent(_all_arrays(group, demos), path)
        return Contents(demos, fps, robot, _is_upside_down(group, env_args, problem, path))


def _all_arrays(group: Any, demos: list[Demo]) -> Iterator[Any]:
    for demo in demos:
        usable_cameras = [camera for camera, size in demo.cameras.items() if not isinstance(size, str)]
        yield from (group[f"{demo.name}/obs/{name}"] for name in [*usable_cameras, *(demo.rows.keys() - {"actions"})])
        if "actions" in demo.rows:
            yield group[f"{demo.name}/actions"]


def _is_upside_down(group: Any, env_args: dict[str, Any], problem: dict[str, Any], path: Path) -> bool:
    """Return whether the file says that robosuite kept OpenGL's order of rows, or that it is LIBERO's, which does.

    Attributes: scripts/create_dataset.py of github.com/Lifelong-Robot-Learning/LIBERO.
    """
    convention = _as_text(group.attrs.get("macros_image_convention"))
    if convention:
        return convention == "opengl"
    names = [group.attrs.get(name) for name in ("tag", "env_name", "bddl_file_name")]
    names += [env_args.get(name) for name in ("env_name", "bddl_file", "bddl_file_name", "problem_name")]
    names += [problem.get("problem_name"), path.name, path.parent.name]
    return any("libero" in _as_text(name).lower() or _as_text(name).endswith(".bddl") for name in names)


def _rate_and_robot(env_args: dict[str, Any]) -> tuple[float | None, str]:
    """Return rate and robot: robosuite's env_kwargs have control_freq, Isaac Lab's sim_args have dt and decimation."""
    settings, physics = (found if isinstance(found := env_args.get(name), dict) else {} for name in SETTINGS_KEYS)
    robots = settings.get("robots")
    robot = "+".join(map(str, robots)) if isinstance(robots, list) else _as_text(robots)
    step, steps = (_positive(physics.get(name)) for name in ("dt", "decimation"))
    return _positive(settings.get("control_freq")) or (
        _positive(round(1 / (step * steps), 6)) if step and steps else None
    ), robot


def _positive(rate: Any) -> float | None:
    """Return the number if it can be a rate, else None; JSON's Infinity and NaN cannot."""
    return float(rate) if isinstance(rate, int | float) and 0 < rate < 1e6 else None


def _demo(group: Any, name: str, task: str) -> Demo:
    try:
        demo = get_member(group, name)
        if not hasattr(demo, "keys"):
            raise hdf5_error(group, "not a group", name)
        language = demo.attrs.get("language_instruction", demo.attrs.get("task", task))
        actions, observations = count_rows(demo, "actions"), get_member(demo, "obs")
        rows = {} if actions is None else {"actions": actions}
        cameras: dict[str, FrameShape | str] = {}
        if observations is not None and not hasattr(observations, "keys"):
            raise hdf5_error(demo, "not a group", "obs")
        for key in [] if observations is None else member_names(observations):
            if PROPRIOCEPTION.search(key):
                rows[key] = count_rows(observations, key) or 0
            elif (shape_or_reason := _image_shape(observations, key)) is not None:
                cameras[key] = shape_or_reason
    except DataError as error:
        return Demo(name, task, {}, {}, error.what)
    return Demo(name, _as_text(language), cameras, rows)


def _image_shape(observations: Any, key: str) -> FrameShape | str | None:
    """Return (T, H, W), or why there are no usable images, or None if the key is not a camera."""
    try:
        member = get_member(observations, key)
    except DataError as error:
        return error.what if key.endswith(CAMERA_SUFFIXES) else None
    shape = getattr(member, "shape", None) or ()
    return frame_shape(member, key) if len(shape) == 4 or key.endswith(CAMERA_SUFFIXES) else None


def _json_attribute(group: Any, name: str, path: Path) -> dict[str, Any]:
    text, hint = group.attrs.get(name, "{}"), "Restore the file."
    try:
        value = parse_json(text, str(path)) if isinstance(text, str | bytes) else None
    except DataError as error:
        raise DataError(f"its {name}: {error.what}", where=str(path), hint=hint) from error
    if value is None:
        raise DataError(f"its {name}: not a text", where=str(path), hint=hint)
    return value if isinstance(value, dict) else {}


def _as_text(value: Any) -> str:
    """Return a text of the file, with bytes that are not UTF-8 replaced; "" for another value."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
