"""Parquet files of few bytes and a great many rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.data.sources import bounded_parquet
from worldtune.data.sources.bounded_parquet import read_bounded_table
from worldtune.data.sources.lerobot.metadata_files import read_records, read_table
from worldtune.errors import DataError

TABLES = {
    "numbers": pa.table({"a": [1, 2, 3], "b": [0.5, None, 1.5]}),
    "lists": pa.table({"a": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)), "b": [[], ["x", "y"]]}),
    "texts": pa.table({"task": ["lift"] * 40_000, "task_index": range(40_000)}),
    "none": pa.table({"a": pa.array([], pa.int64())}),
    "categories": pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_bounded_reading_equals_pyarrow(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLES[kind].replace_schema_metadata({"x": "y"}), path, row_group_size=30_000)
    read = read_bounded_table(path)
    assert read.equals(pq.ParquetFile(path).read())
    assert read.schema.metadata == {b"x": b"y"}


@pytest.mark.parametrize("kind", ["numbers", "lists", "texts"])
def test_parquet_bomb_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(bounded_parquet, "LARGEST", 1 << 24)
    zeros = np.zeros(3_000_000, np.int64)
    columns = {
        "numbers": zeros,
        "lists": pa.ListArray.from_arrays([0, len(zeros)], zeros),
        "texts": pa.DictionaryArray.from_arrays(zeros[:100_000], ["x" * 1000]),
    }
    pq.write_table(pa.table({"a": columns[kind]}), tmp_path / "a.parquet", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 40_000
    with pytest.raises(DataError, match="more than 16,777,216 bytes when decompressed"):
        read_table(tmp_path / "a.parquet")


def test_too_many_records_are_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"task_index": np.zeros(3_000_000, np.int64)}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="it lists 3,000,000 records"):
        read_records([tmp_path / "a.parquet"], "task_index")
