"""Random histories: honest acts among appended, edited, deleted, replayed, reordered and foreign events."""

from pathlib import Path

import pytest

from worldtune.bench.registry_history import TAMPERINGS
from worldtune.bench.registry_machine import run_histories

HISTORIES = 15


def test_no_history_misleads_a_reader(database: str, tmp_path: Path) -> None:
    counts, misled = run_histories(tmp_path / "registry", HISTORIES, database)
    assert misled == ""
    assert counts["histories"] >= HISTORIES
    assert counts["appended"]
    assert set(TAMPERINGS) & set(counts)


def test_rule_that_is_lost_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle knows what production asks for without the rules."""
    monkeypatch.setattr("worldtune.registry.standing.Standing.missing", lambda self, channel: [])
    monkeypatch.setattr("worldtune.bench.registry_machine.PHASES", ("generate",))
    assert "production holds what" in run_histories(tmp_path / "registry", 60)[1]
