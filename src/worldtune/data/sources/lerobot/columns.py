"""Columns of a LeRobot dataset: which are read as states and actions, and which numeric columns are not read.

Format: github.com/huggingface/lerobot, `features` of `meta/info.json`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from worldtune.data.columns import IS_SYNTHETIC, Columns
from worldtune.errors import DataError

INDEX_COLUMNS = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index", "subtask_index"})
NUMERIC_DTYPES = ("float", "int", "uint", "double", "bool")


def numeric_columns(features: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of values per row of each column that may be a state or an action."""
    found = {}
    for name, feature in features.items():
        is_number = str(feature.get("dtype")).startswith(NUMERIC_DTYPES)
        if is_number and name not in (*INDEX_COLUMNS, IS_SYNTHETIC) and not name.startswith("annotation."):
            found[name] = _element_count(feature.get("shape"))
    return found


def _element_count(shape: object) -> int:
    sides = shape if isinstance(shape, list) else []
    size = 1
    for side in sides:
        size *= side if isinstance(side, int) and side > 0 else 1
    return size


def check_columns(columns: Columns, features: Mapping[str, Any], path: str) -> None:
    """Raise DataError if a requested column is missing or not numeric."""
    available = numeric_columns(features)
    for key, names in (("state", columns.state), ("action", columns.action)):
        if unknown := [name for name in names or () if name not in available]:
            listed = ", ".join(f"{name} ({size})" for name, size in available.items()) or "none"
            raise DataError(
                f"data.{key}: no numeric column {unknown[0]}", where=path, hint=f"Numeric columns: {listed}."
            )


def feature_names(features: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Return the names of these columns' values: a list, or lists under one key; [] if a column names none."""
    found: list[str] = []
    for column in columns:
        names = features.get(column, {}).get("names")
        if isinstance(names, dict):
            names = next(iter(names.values()), None)
        if not isinstance(names, list):
            return []
        found += map(str, names)
    return found


def describe_unread_columns(features: Mapping[str, Any], columns: Columns) -> str:
    """Return one line about the numeric columns that are not read, or ""."""
    available = numeric_columns(features)
    unread_columns = [
        f"{name} ({size})" for name, size in available.items() if name not in (*columns.states, *columns.actions)
    ]
    if not unread_columns:
        return ""
    missing = [
        kind
        for kind, names in (("states", columns.states), ("actions", columns.actions))
        if not set(names) & set(available)
    ]
    none_read = f"no {' and no '.join(missing)} are read; " if missing else ""
    return f"{none_read}columns not read: {', '.join(unread_columns)} (data.state and data.action name those to read)"
