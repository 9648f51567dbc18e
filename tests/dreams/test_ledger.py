"""The ledger of dreams survives a killed writer, and names damage."""

from pathlib import Path

import pytest

from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.ledger import LEDGER, append_rows, read_rows, write_rows
from worldtune.errors import DataError


def test_rows_are_appended_and_read_back(made: DreamSet, tmp_path: Path) -> None:
    append_rows(tmp_path, made.ledger[:2])
    append_rows(tmp_path, made.ledger[2:])
    assert read_rows(tmp_path) == made.ledger
    content = (tmp_path / LEDGER).read_bytes()
    write_rows(tmp_path, made.ledger)
    assert (tmp_path / LEDGER).read_bytes() == content


def test_unfinished_last_line_is_left_out(made: DreamSet, tmp_path: Path) -> None:
    append_rows(tmp_path, made.ledger)
    content = (tmp_path / LEDGER).read_bytes()
    for cut in (1, 20, 300):
        (tmp_path / LEDGER).write_bytes(content[:-cut])
        assert read_rows(tmp_path) == made.ledger[:-1]


def test_damage_is_named_with_its_line(made: DreamSet, tmp_path: Path) -> None:
    append_rows(tmp_path, made.ledger)
    lines = (tmp_path / LEDGER).read_bytes().splitlines(keepends=True)
    (tmp_path / LEDGER).write_bytes(b"".join([lines[0], b'{"name": 3}\n', *lines[2:]]))
    with pytest.raises(DataError, match=r"ledger\.jsonl, line 2"):
        read_rows(tmp_path)
    (tmp_path / LEDGER).write_bytes(lines[0] + lines[0])
    with pytest.raises(DataError, match="the dream 000000 has two rows"):
        read_rows(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path / "gone")
