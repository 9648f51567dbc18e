"""The rows of a LeRobot episode: states, actions, times and task, and what may be wrong with them.

Shapes: T frames, S state and A action dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load, save

from worldtune.episodes.seen import remembered
from worldtune.episodes.sources.lerobot_files import read_column, read_table
from worldtune.episodes.sources.lerobot_meta import Promise
from worldtune.episodes.windows import jumps
from worldtune.errors import DataError, first_line

STATE, ACTION, SECONDS, ORDER = "observation.state", "action", "timestamp", "frame_index"


@dataclass(frozen=True, eq=False)
class Rows:
    """How many there are, and of them, float32 and None where the dataset has none: states (T, S), actions (T, A),
    seconds (T, 1). `tasks` are the indices of the texts that describe them, None where no column does.
    """

    count: int
    states: np.ndarray | None
    actions: np.ndarray | None
    seconds: np.ndarray | None
    tasks: list[int] | None

    @property
    def jumps(self) -> list[tuple[int, float]]:
        """Where nothing was recorded, by the stated seconds."""
        return [] if self.seconds is None else jumps(self.seconds[:, 0])

    @property
    def endless(self) -> tuple[str, ...]:
        """Which of states and actions hold values that are not finite."""
        parts = (("states", self.states), ("actions", self.actions))
        return tuple(name for name, rows_TD in parts if rows_TD is not None and not np.isfinite(rows_TD).all())

    def off(self, fps: float) -> float:
        """By how many frames a stated time differs from its place, at most."""
        if self.seconds is None:
            return 0.0
        places_T = (self.seconds[:, 0] - self.seconds[:1, 0]) * fps
        return float(np.abs(places_T - np.arange(len(places_T))).max(initial=0))


def names_of(feature: Mapping[str, Any]) -> list[str]:
    """The names of a feature's columns: a list, or lists under one key; none where they are not said."""
    names = feature.get("names")
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    return [str(name) for name in names] if isinstance(names, list) else []


def read_rows(file: Path, promise: Promise, version: int, description: str | None) -> Rows:
    """The rows in the episode's data file; `description` is the column of the texts' indices, None where none is.

    They are remembered for as long as the file stays as it is. Raises DataError when they cannot be read.
    """
    what = f"rows 3 of {promise.index}, {promise.length}, in version {version}, {description}"
    found = load(remembered(file, what, lambda: {what: save(_read(file, promise, version, description))}))
    tasks = found.get("texts")
    states, actions, seconds = (found.get(name) for name in (STATE, ACTION, SECONDS))
    return Rows(int(found["rows"][0]), states, actions, seconds, None if tasks is None else tasks.tolist())


def _read(file: Path, promise: Promise, version: int, description: str | None) -> dict[str, np.ndarray]:
    try:
        table = read_table(file)
        if version == 3:
            table = _of_episode(table, promise.index, file)
        return _columns(table, promise.length, description, file)
    except pa.ArrowException as error:  # a column of another kind
        what = f"its columns cannot be understood: {first_line(error)}"
        raise DataError(what, where=str(file), mend="Restore the file.") from error


def _of_episode(table: pa.Table, index: int, file: Path) -> pa.Table:
    if "episode_index" not in table.column_names:
        raise DataError("there is no column episode_index", where=str(file), mend="Restore the file.")
    return table.filter(pc.equal(table.column("episode_index"), index))


def _columns(table: pa.Table, length: int, description: str | None, file: Path) -> dict[str, np.ndarray]:
    columns = {name: read_column(table, name, file) for name in (STATE, ACTION, SECONDS, ORDER)}
    found = {name: column for name, column in columns.items() if column is not None}
    order, counted = np.arange(length)[:, None], found.pop(ORDER, None)
    if counted is not None and len(counted) == length and not np.array_equal(counted, order):
        what = f"its rows are not in order: {ORDER} does not count from 0"
        raise DataError(what, where=str(file), mend="Sort them.")
    if description in table.column_names:
        indices = table.column(description).unique().to_pylist()
        found["texts"] = np.asarray([index for index in indices if isinstance(index, int)], np.int64)
    return found | {"rows": np.array([len(table)])}
