"""The rows of a LeRobot episode: states, actions, times and task, with checks of them.

Shapes: T frames, S state and A action dimensions, R runs of rows of one task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load, save

from worldtune.data.columns import Columns
from worldtune.data.sources.lerobot.metadata import MAX_EXACT_INTEGER, EpisodeMetadata
from worldtune.data.sources.lerobot.metadata_files import read_column, read_table
from worldtune.data.sources.lerobot.tasks import TASK, task_runs
from worldtune.data.video.file_cache import cached
from worldtune.data.windows import find_gaps
from worldtune.errors import DataError, first_line

FORMAT = "rows 5"  # change the number when the way to read them changes
SECONDS, ORDER, EPISODE = "timestamp", "frame_index", "episode_index"


@dataclass(frozen=True)
class RowChecks:
    """Measurements that show what is wrong with an episode's rows.

    count: how many rows. begin: the first frame_index. non_finite: which of states and actions are not finite.
    frames_off: by how many frames a timestamp is off at most. time_resolution: the precision of timestamps too
    coarse to use, else None.
    """

    count: int
    begin: int
    non_finite: tuple[str, ...]
    frames_off: float
    time_resolution: float | None


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of an episode; a field is None if the dataset does not have it.

    states (T, S) and actions (T, A) are float32, seconds (T,) float64. `time_resolution`: the smallest difference of
    two times in the file's own precision. `tasks` (R, 2): the first row of each run of equal task indices, and the
    index. `begin`: the first frame_index.
    """

    count: int
    states: np.ndarray | None
    actions: np.ndarray | None
    seconds: np.ndarray | None
    time_resolution: float
    tasks: np.ndarray | None
    begin: int

    def resolves_frames(self, fps: float) -> bool:
        """Return whether the times tell one frame from the next; seconds since 1970 as float32 do not."""
        return self.seconds is not None and self.time_resolution * fps < 0.5

    def gaps(self, fps: float) -> list[tuple[int, float]]:
        """Return the gaps in the recording, by its timestamps."""
        return find_gaps(self.seconds) if self.seconds is not None and self.resolves_frames(fps) else []

    def first_frame(self, fps: float) -> int:
        """Return the frame of the first row's time, if the rows continue from there frame by frame, else 0."""
        if self.seconds is None or not len(self.seconds) or not self.resolves_frames(fps):
            return 0
        frames_T = np.rint(self.seconds * fps)
        is_even = 0 <= frames_T[0] < MAX_EXACT_INTEGER and (np.diff(frames_T) == 1).all()
        return int(frames_T[0]) if is_even else 0

    def checks(self, fps: float) -> RowChecks:
        parts = (("states", self.states), ("actions", self.actions))
        non_finite = tuple(name for name, rows_TD in parts if rows_TD is not None and not np.isfinite(rows_TD).all())
        time_resolution = None if self.seconds is None or self.resolves_frames(fps) else self.time_resolution
        return RowChecks(self.count, self.begin, non_finite, self._max_time_offset(fps), time_resolution)

    def _max_time_offset(self, fps: float) -> float:
        """Return by how many frames a timestamp differs from its expected time, at most."""
        if self.seconds is None or not self.resolves_frames(fps):
            return 0.0
        positions_T = (self.seconds - self.seconds[:1]) * fps
        return float(np.abs(positions_T - np.arange(len(positions_T))).max(initial=0))


def read_rows(file: Path, metadata: EpisodeMetadata, version: int, columns: Columns, description: str | None) -> Rows:
    """Return the rows in the episode's data file; `description` is a column of text indices to prefer to task_index.

    Rows are cached until the file changes. Raise DataError if they cannot be read.
    """
    requested = columns.states, columns.actions, description
    cache_key = f"{FORMAT} of {metadata.index}, {metadata.length}, in version {version}, {requested}"
    arrays = load(
        cached(file, cache_key, lambda: {cache_key: save(_read(file, metadata, version, columns, description))})
    )
    states, actions, seconds, tasks = (arrays.get(name) for name in ("states", "actions", SECONDS, "tasks"))
    count, begin = arrays["count"].tolist()
    return Rows(count, states, actions, seconds, float(arrays["grain"][0]), tasks, begin)


def _read(
    file: Path, metadata: EpisodeMetadata, version: int, columns: Columns, description: str | None
) -> dict[str, np.ndarray]:
    texts = [name for name in (description, TASK) if name]
    names = (*columns.states, *columns.actions, SECONDS, ORDER, EPISODE, "index", *texts)
    try:
        table = read_table(file, names)
        if version == 3:
            table = _select_episode(table, metadata.index, file)
        return _arrays(table, metadata.length, columns, texts, file)
    except pa.ArrowException as error:  # a column has the wrong type
        what = f"its columns cannot be understood: {first_line(error)}"
        raise DataError(what, where=str(file), hint="Restore the file.") from error


def _select_episode(table: pa.Table, index: int, file: Path) -> pa.Table:
    if EPISODE not in table.column_names:
        raise DataError("the column episode_index is missing", where=str(file), hint="Restore the file.")
    return table.filter(pc.equal(table.column(EPISODE), index))


def _arrays(table: pa.Table, length: int, columns: Columns, texts: Sequence[str], file: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {"grain": np.zeros(1)}
    for name, requested in (("states", columns.states), ("actions", columns.actions)):
        if (rows_TD := _join_columns(table, requested, file)) is not None:
            arrays[name] = rows_TD
    if (seconds := read_column(table, SECONDS, file)) is not None and seconds.shape[1] == 1:
        arrays[SECONDS] = seconds[:, 0].astype(np.float64)
        if seconds.dtype.kind == "f":
            arrays["grain"] = np.spacing(np.abs(seconds).max(initial=0)).astype(np.float64).reshape(1)
    begin = _first_index(read_column(table, ORDER, file), length, file)
    for name in texts:
        if name in table.column_names and (indices_T := _task_indices(table.column(name))) is not None:
            arrays["tasks"] = task_runs(indices_T)
            break
    return arrays | {"count": np.array([len(table), begin])}


def _join_columns(table: pa.Table, names: Sequence[str], file: Path) -> np.ndarray | None:
    """Return the columns side by side as float32 (T, D), None if one of them is missing."""
    parts = [part for name in names if (part := read_column(table, name, file)) is not None]
    if not parts or len(parts) < len(names):
        return None
    return np.concatenate([part.astype(np.float32) for part in parts], axis=1)


def _first_index(order: np.ndarray | None, length: int, file: Path) -> int:
    """Return the first frame_index. Raise DataError if it does not count by one."""
    if order is None or not order.size:
        return 0
    numbers_T = order[:, 0].astype(np.float64)
    if len(order) == length and not (np.diff(numbers_T) == 1).all():
        what = f"its rows are not in order: {ORDER} does not count by one"
        raise DataError(what, where=str(file), hint="Sort the rows.")
    return int(numbers_T[0]) if abs(numbers_T[0]) < MAX_EXACT_INTEGER else 0


def _task_indices(column: pa.ChunkedArray) -> np.ndarray | None:
    """Return task indices (T,), -1 for a value that is not an index; None if the column is not numeric."""
    values = column.combine_chunks()
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    numbers_T = np.asarray(pc.fill_null(values.cast(pa.float64(), safe=False), -1).to_numpy(zero_copy_only=False))
    is_index = np.isfinite(numbers_T) & (numbers_T % 1 == 0)
    return np.where(is_index, numbers_T, -1).astype(np.int64)
