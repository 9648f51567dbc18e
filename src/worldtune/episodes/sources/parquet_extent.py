"""Read a parquet file no further than a table can be: few bytes can say that a value comes a billion times."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.errors import DataError

LARGEST, AT_ONCE = 1 << 31, 1 << 28
"""Bytes of a table once it is unpacked; bytes that texts may have that are unpacked at once."""
ROWS_AT_ONCE = 1 << 14


def read_unpacked(path: Path) -> pa.Table:
    """Return the whole table.

    Raises DataError if it is larger than `LARGEST`, and what pyarrow raises (ArrowException, OSError) if it is damaged.
    """
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    left = LARGEST - 8 * sum(column.num_values for column in columns)
    texts = [column.total_uncompressed_size for column in columns if column.physical_type == "BYTE_ARRAY"]
    at_once = max(1, min(ROWS_AT_ONCE, AT_ONCE // max([1, *texts])))  # a text is no longer than its column
    batches: list[pa.RecordBatch] = []
    unread = file.iter_batches(batch_size=at_once)
    while left >= 0 and (batch := next(unread, None)) is not None:
        batches.append(batch)
        left -= batch.nbytes
    if left < 0:
        what = f"its rows are more than {LARGEST:,} bytes once they are unpacked"
        raise DataError(what, where=str(path), mend="Restore the file, or split it.")
    return pa.Table.from_batches(batches, schema=file.schema_arrow)
