"""Changes to the parquet files of a dataset."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-000/file-000.parquet"


def set_column(path: Path, name: str, values: Sequence[Any] | pa.Array | None) -> None:
    """Add or replace a column of the table; None removes it."""
    table = pq.read_table(path)
    if name in table.column_names:
        table = table.drop_columns(name)
    if values is not None:
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    pq.write_table(table, path)


def change_column(path: Path, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    set_column(path, name, change(pq.read_table(path).column(name).to_pylist()))
