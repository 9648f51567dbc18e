"""Read a parquet file up to a size limit: a few bytes can claim that a value repeats a billion times."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.errors import DataError

LARGEST, BATCH_BYTES = 1 << 31, 1 << 28
"""Largest decompressed size of a table; largest size of the texts that are decompressed at a time."""
BATCH_ROWS, BUFFER_BYTES = 1 << 14, 1 << 20


def read_bounded_table(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """Return the table, or only its columns of these names; missing names are ignored.

    Raise DataError if it is larger than `LARGEST`, or what pyarrow raises (ArrowException, OSError) if it is damaged.
    """
    file = pq.ParquetFile(path, buffer_size=BUFFER_BYTES)  # without it, a whole column chunk is read
    requested = None if names is None else [name for name in file.schema_arrow.names if name in names]
    columns = [column for column in _chunks(file) if requested is None or belongs_to(column, requested)]
    budget = LARGEST - 8 * sum(column.num_values for column in columns)
    texts = [column.total_uncompressed_size for column in columns if column.physical_type == "BYTE_ARRAY"]
    at_once = max(1, min(BATCH_ROWS, BATCH_BYTES // max([1, *texts])))  # a text is no longer than its column
    batches: list[pa.RecordBatch] = []
    batches_left = file.iter_batches(batch_size=at_once, columns=requested)
    while budget >= 0 and (batch := next(batches_left, None)) is not None:
        batches.append(batch)
        budget -= batch.nbytes
    if budget < 0:
        what = f"its rows take more than {LARGEST:,} bytes when decompressed"
        raise DataError(what, where=str(path), hint="Restore the file, or split it.")
    schema = file.schema_arrow
    if requested is not None:
        schema = pa.schema([schema.field(schema.names.index(name)) for name in requested])
    return pa.Table.from_batches(batches, schema=schema)


def _chunks(file: pq.ParquetFile) -> list[pq.ColumnChunkMetaData]:
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    return [group.column(number) for group in groups for number in range(group.num_columns)]


def belongs_to(chunk: pq.ColumnChunkMetaData, names: Sequence[str]) -> bool:
    """Return whether the chunk is a column of one of these names, or a part of one."""
    return any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(f"{name}.") for name in names)
