"""Reading the metadata files of a LeRobot dataset, with one line about what is wrong with them."""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from worldtune.core import strict_io
from worldtune.episodes.seen import state_of
from worldtune.episodes.sources.parquet_extent import read_unpacked
from worldtune.episodes.sources.text_file import read_bytes
from worldtune.errors import DataError, first_line

Record = dict[str, Any]
KINDS: dict[str, tuple[type | UnionType, str]] = {
    "codebase_version": (str, "a text"),
    "data_path": (str, "a text"),
    "video_path": (str | None, "a text"),
    "splits": (dict, "a mapping"),
    "chunks_size": (int, "a whole number"),
}
MOST_RECORDS = 2_000_000
FASTEST = 1e6  # frames a second: no camera's


def read_info(path: Path) -> Record:
    """`meta/info.json`. Raises DataError when it cannot be read or lacks what a reader needs."""
    info, mend = _parse(path, read_text(path)), "Restore the dataset's info.json."
    for key in ("codebase_version", "fps", "features", "data_path"):
        if key not in info:
            raise DataError(f"the key '{key}' is missing", where=str(path), mend=mend)
    for key, (kind, name) in KINDS.items():
        if key in info and (not isinstance(info[key], kind) or isinstance(info[key], bool)):
            raise DataError(f"{key} is {info[key]!r}, not {name}", where=str(path), mend=mend)
    fps, features = info["fps"], info["features"]
    if not isinstance(fps, int | float) or isinstance(fps, bool) or not 0 < fps < FASTEST:
        raise DataError(f"fps is {fps!r}", where=str(path), mend="State the recording's frame rate.")
    if info.get("chunks_size", 1) < 1:
        raise DataError(f"chunks_size is {info['chunks_size']}", where=str(path), mend=mend)
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise DataError("features is no mapping of mappings", where=str(path), mend=mend)
    return info


def read_jsonl(path: Path, *keys: str) -> list[Record]:
    """One record a line, each with all of `keys`. Raises DataError otherwise."""
    if not path.is_file():
        raise DataError("the metadata file is missing", where=str(path), mend="Restore it from the dataset's origin.")
    lines = read_text(path).split("\n")  # a task's text may hold what Unicode calls the end of a line
    return _with_keys([_parse(path, line) for line in lines if line.strip()], keys, path)


def read_text(path: Path) -> str:
    """The text of a file, without the mark that some editors begin it with. Raises DataError when it is not UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", where=str(path), mend="Save it as UTF-8, or restore it.") from error
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}"
        raise DataError(what, where=str(path), mend="Check its permissions, or restore it.") from error


def parse_json(path: Path, text: str) -> Any:
    """The value of the file's text. Raises DataError when it is no JSON that is taken: see `strict_io`."""
    return strict_io.parse_json(text, str(path), mend="Restore the file.")


def _parse(path: Path, text: str) -> Record:
    value = parse_json(path, text)
    if not isinstance(value, dict):
        raise DataError("not a JSON object", where=str(path), mend="Restore the file.")
    return value


def read_records(paths: list[Path], *keys: str) -> list[Record]:
    """The rows of parquet files, without the bulky `stats/…` columns. Raises DataError when keys lack."""
    records: list[Record] = []
    for path in paths:
        table = read_table(path)
        if len(table) > MOST_RECORDS:
            raise DataError(f"it lists {len(table):,} records", where=str(path), mend="Split the dataset.")
        slim = table.select([name for name in table.column_names if not name.startswith("stats/")])
        records += _with_keys(slim.to_pylist(), keys, path)
    return records


def _with_keys(records: list[Record], keys: tuple[str, ...], path: Path) -> list[Record]:
    for record in records:
        for key in keys:
            if record.get(key) is None:
                raise DataError(f"a record has no '{key}'", where=str(path), mend="Restore the file.")
    return records


def read_table(path: Path) -> pa.Table:
    """A parquet file; the last two stay in memory, since episodes share files. Raises DataError when unreadable."""
    if not path.is_file():
        raise DataError("the metadata file is missing", where=str(path), mend="Restore it from the dataset's origin.")
    return _read_table(path, state_of(path))


@lru_cache(maxsize=2)
def _read_table(path: Path, state: str) -> pa.Table:
    try:
        table = read_unpacked(path)  # read_table's way makes columns of a path's k=v
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"not a readable parquet file: {first_line(error)}", where=str(path), mend="Restore the file."
        ) from error
    if twice := next((name for name, count in Counter(table.column_names).items() if count > 1), None):
        raise DataError(f"the column {twice} is there twice", where=str(path), mend="Restore the file.")
    return table


def read_column(table: pa.Table, name: str, path: Path) -> np.ndarray | None:
    """A numeric column as float32 (T, D), None when the table has none. Raises DataError when ragged."""
    if name not in table.column_names:
        return None
    column = table.column(name).combine_chunks()
    is_row = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    is_row = is_row or pa.types.is_fixed_size_list(column.type)
    widths = pc.list_value_length(column).unique().to_pylist() if is_row else [1]
    flat = column.flatten() if is_row else column
    if column.null_count or len(widths) > 1:
        raise DataError(f"the column {name} has gaps or rows of unequal length", where=str(path), mend="Restore it.")
    if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type) or pa.types.is_boolean(flat.type)):
        raise DataError(f"the column {name} is of {flat.type}, not of numbers", where=str(path), mend="Restore it.")
    values = np.asarray(flat.to_numpy(zero_copy_only=False), np.float32)
    return values.reshape(len(column), widths[0] if widths else 0)
