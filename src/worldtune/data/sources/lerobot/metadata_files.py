"""Read the metadata files of a LeRobot dataset, with one-line errors."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from worldtune.core.git_lfs import POINTER_MESSAGE, PULL_HINT, is_pointer
from worldtune.core.ranges import MAX_FPS, MIN_FPS
from worldtune.core.strict_io import json_object, parse_json
from worldtune.data.sources.bounded_parquet import read_bounded_table
from worldtune.data.sources.text_file import read_text
from worldtune.data.video.file_cache import file_state
from worldtune.errors import DataError, first_line

Record = dict[str, Any]
FIELD_TYPES: dict[str, tuple[type | UnionType, str]] = {
    "codebase_version": (str, "a text"),
    "data_path": (str, "a text"),
    "video_path": (str | None, "a text"),
    "splits": (dict, "a mapping"),
    "chunks_size": (int, "a whole number"),
}
MAX_RECORDS = 2_000_000
RESTORE = "Restore the file."


def read_info(path: Path) -> Record:
    """Return `meta/info.json`. Raise DataError if it cannot be read or lacks what a reader needs."""
    info, hint = _parse_object(path, read_text(path)), "Restore the dataset's info.json."
    for key in ("codebase_version", "fps", "features", "data_path"):
        if key not in info:
            raise DataError(f"the key '{key}' is missing", where=str(path), hint=hint)
    for key, (kind, name) in FIELD_TYPES.items():
        if key in info and (not isinstance(info[key], kind) or isinstance(info[key], bool)):
            raise DataError(f"{key} is {info[key]!r}, not {name}", where=str(path), hint=hint)
    fps, features = info["fps"], info["features"]
    if not isinstance(fps, int | float) or isinstance(fps, bool) or not MIN_FPS <= fps <= MAX_FPS:
        raise DataError(f"fps is {fps!r}", where=str(path), hint="Write the recording's frame rate.")
    if info.get("chunks_size", 1) < 1:
        raise DataError(f"chunks_size is {info['chunks_size']}", where=str(path), hint=hint)
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise DataError("features is not a mapping of mappings", where=str(path), hint=hint)
    return info


def read_jsonl(path: Path, *keys: str) -> list[Record]:
    """Return one record per line, each with all of `keys`. Raise DataError otherwise."""
    if not path.is_file():
        raise DataError("the metadata file is missing", where=str(path), hint="Restore it from the dataset's origin.")
    lines = read_text(path).split("\n")  # not splitlines(): a task text may contain Unicode line ends
    return _check_keys([_parse_object(path, line) for line in lines if line.strip()], keys, path)


def _parse_object(path: Path, text: str) -> Record:
    return json_object(parse_json(text, str(path), hint=RESTORE), str(path), hint=RESTORE)


def read_records(paths: list[Path], *keys: str) -> list[Record]:
    """Return the rows of parquet files, without the bulky `stats/…` columns. Raise DataError if keys are missing."""
    records: list[Record] = []
    for path in paths:
        table = read_table(path)
        if len(table) > MAX_RECORDS:
            raise DataError(f"it lists {len(table):,} records", where=str(path), hint="Split the dataset.")
        bounded = table.select([name for name in table.column_names if not name.startswith("stats/")])
        records += _check_keys(bounded.to_pylist(), keys, path)
    return records


def _check_keys(records: list[Record], keys: tuple[str, ...], path: Path) -> list[Record]:
    for record in records:
        for key in keys:
            if record.get(key) is None:
                raise DataError(f"a record has no '{key}'", where=str(path), hint="Restore the file.")
    return records


def read_table(path: Path, names: tuple[str, ...] | None = None) -> pa.Table:
    """Return a parquet file, or its columns of these names; the last two stay in memory, since episodes share files.

    Raise DataError if the file cannot be read.
    """
    if not path.is_file():
        raise DataError("the metadata file is missing", where=str(path), hint="Restore it from the dataset's origin.")
    return _read_table(path, file_state(path), names)


@lru_cache(maxsize=2)
def _read_table(path: Path, state: str, names: tuple[str, ...] | None) -> pa.Table:
    with reporting_parquet_errors(path):
        duplicates = [name for name, count in Counter(pq.read_schema(path).names).items() if count > 1]
        if not duplicates:
            return read_bounded_table(path, names)  # pyarrow's read_table would add columns for k=v in the path
    raise DataError(f"the column {duplicates[0]} exists twice", where=str(path), hint="Restore the file.")


@contextmanager
def reporting_parquet_errors(path: Path) -> Iterator[None]:
    """Raise DataError, in one line, for what pyarrow raises of a damaged file, and for a Git LFS pointer."""
    try:
        if is_pointer(path):
            raise DataError(POINTER_MESSAGE, where=str(path), hint=PULL_HINT)
        yield
    except (pa.ArrowException, OSError) as error:
        what = f"not a readable parquet file: {first_line(error)}"
        raise DataError(what, where=str(path), hint="Restore the file.") from error


def read_column(table: pa.Table, name: str, path: Path) -> np.ndarray | None:
    """Return a numeric column (T, D) in its own precision, None if it is missing. Raise DataError if it is ragged."""
    if name not in table.column_names:
        return None
    column = table.column(name).combine_chunks()
    is_row = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    is_row = is_row or pa.types.is_fixed_size_list(column.type)
    widths = pc.list_value_length(column).unique().to_pylist() if is_row else [1]
    flat = column.flatten() if is_row else column
    if column.null_count or len(widths) > 1:
        raise DataError(f"the column {name} has gaps or rows of unequal length", where=str(path), hint="Restore it.")
    if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type) or pa.types.is_boolean(flat.type)):
        raise DataError(f"the column {name} is {flat.type}, not numeric", where=str(path), hint="Restore it.")
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), widths[0] if widths else 0)
