import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.data.ledger import Ledger, Row, join_ledgers, read_ledger
from worldtune.errors import DataError

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBER = st.none() | st.floats(allow_nan=False)
ROWS = st.builds(
    Row, TEXT, TEXT, TEXT, TEXT, TEXT, st.integers(0, 2**40), st.integers(0, 2**40), NUMBER, st.floats(1, 240),
    kept=st.booleans(), split=TEXT, reason=TEXT, note=TEXT, session=TEXT, caption_origin=TEXT, speed=st.floats(0, 9),
    motion=NUMBER, still=NUMBER, sharpness=NUMBER, brightness=NUMBER, augmentation=TEXT,
)  # fmt: skip


@given(st.lists(ROWS, max_size=5))
def test_ledger_round_trip(rows: list[Row]) -> None:
    ledger = Ledger(tuple(rows))
    with tempfile.TemporaryDirectory() as folder:
        ledger.write(Path(folder) / "ledger.parquet")
        assert read_ledger(Path(folder) / "ledger.parquet") == ledger


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text" * 50])
def test_damaged_ledger_is_a_one_line_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable ledger.*check --ledger"):
        read_ledger(tmp_path / "ledger.parquet")


def test_ledger_with_missing_columns_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"episode": ["a"], "kept": [True]}), tmp_path / "ledger.parquet")
    with pytest.raises(DataError, match="not a readable ledger"):
        read_ledger(tmp_path / "ledger.parquet")


def test_ledgers_are_joined_in_order() -> None:
    one, other = (Ledger((Row(name, "e", "c", "", "", 0, 1, None, 16),)) for name in ("one", "other"))
    assert [row.source for row in join_ledgers([one, other]).rows] == ["one", "other"]


def test_each_note_is_counted() -> None:
    """Notes that differ only after a colon, for example in a file name, are counted together."""
    notes = ["read through a link: a.txt; retimed", "read through a link: b.txt; retimed", "retimed", ""]
    kept = [Row("s", f"{e}", "c", "", "", 0, 1, None, 16, kept=True, note=note) for e, note in enumerate(notes)]
    refused = Row("s", "e", "c", "", "", 0, 1, None, 16, note="retimed")
    assert Ledger((*kept, refused)).notes() == {"retimed": 3, "read through a link: a.txt, …": 2}
