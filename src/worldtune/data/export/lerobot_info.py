"""The content of a LeRobot dataset's info.json: the robot, and a description of every column.

Format: github.com/huggingface/lerobot, `lerobot/datasets/feature_utils.py` of 0.6.1. A column's entry `info` is free:
lerobot keeps it for every column, but it drops keys of info.json that it does not know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.data.columns import ACTION, STATE
from worldtune.data.sources.lerobot.columns import feature_names
from worldtune.data.sources.lerobot.metadata_files import read_info
from worldtune.errors import DataError

INDEX_COLUMNS = ("frame_index", "episode_index", "index", "task_index")
FRAME_COLUMN_DTYPES = ("bool", "int64", "float32")
ColumnInfo = Mapping[str, Mapping[str, Any]]
"""What `info` says of a column, by the column's name: JSON values."""


@dataclass(frozen=True)
class Robot:
    """What info.json says of the robot: its type, and the names of its states' and actions' dimensions, if known."""

    type: str
    state_names: Sequence[str] | None = None
    action_names: Sequence[str] | None = None


@dataclass(frozen=True)
class EpisodeShapes:
    """The sizes that all episodes of a dataset share: (H, W, 3) by camera, and dtypes of the additional columns.

    `states` and `actions` are the numbers of a row; `states` is None for a dataset without states.
    """

    cameras: dict[str, tuple[int, ...]]
    states: int | None
    actions: int
    frame_columns: dict[str, str]

    def __str__(self) -> str:
        videos = [f"{camera} {size}" for camera, size in self.cameras.items()]
        columns = [f"{name} {dtype}" for name, dtype in self.frame_columns.items()]
        return ", ".join([*videos, f"{self.states} states", f"{self.actions} actions", *columns])


def robot_of_dataset(folder: Path) -> Robot:
    """Return the robot that a LeRobot dataset's info.json names. Raise DataError if it cannot be read."""
    info = read_info(folder / "meta" / "info.json")
    names = [feature_names(info["features"], [column]) or None for column in (STATE, ACTION)]
    return Robot(str(info.get("robot_type") or "unknown"), *names)


def describe_features(shapes: EpisodeShapes, fps: float, robot: Robot, column_info: ColumnInfo) -> dict[str, Any]:
    """Return the `features` of info.json. Raise DataError if `column_info` describes a column that does not exist."""
    features: dict[str, Any] = {}
    if shapes.states is not None:
        features[STATE] = _vector(shapes.states, robot.state_names)
    features[ACTION] = _vector(shapes.actions, robot.action_names)
    features |= {camera: _video(size[0], size[1], fps) for camera, size in shapes.cameras.items()}
    features["timestamp"] = _scalar("float32")
    features |= {name: _scalar("int64") for name in INDEX_COLUMNS}
    features |= {name: _scalar(dtype) for name, dtype in shapes.frame_columns.items()}
    for name, info in column_info.items():
        if name not in features:
            raise DataError(f"info describes {name}, which is not a column", where="info.json", hint="Correct it.")
        features[name]["info"] = features[name].get("info", {}) | dict(info)
    return features


def frame_column_dtype(values_T: np.ndarray, name: str, where: str) -> str:
    """Return the dtype of an additional column. Raise DataError if LeRobot readers could not read it as a scalar."""
    dtype = str(values_T.dtype)
    if dtype not in FRAME_COLUMN_DTYPES or name in (STATE, ACTION, "timestamp", *INDEX_COLUMNS) or "/" in name:
        allowed = f"Give a new name without '/', and values of {', '.join(FRAME_COLUMN_DTYPES)}."
        raise DataError(f"the column {name} of {dtype} cannot be added", where=where, hint=allowed)
    return dtype


def _scalar(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "names": None}


def _vector(dimensions: int, names: Sequence[str] | None) -> dict[str, Any]:
    if names is not None and len(names) != dimensions:
        raise DataError(
            f"{len(names)} names for {dimensions} dimensions", where=", ".join(names), hint="Name each dimension."
        )
    return {"dtype": "float32", "shape": [dimensions], "names": list(names) if names is not None else None}


def _video(height: int, width: int, fps: float) -> dict[str, Any]:
    info = {"video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p"}
    rest = {"video.fps": fps, "video.channels": 3, "has_audio": False, "is_depth_map": False}
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": info | rest}
