"""Random histories: honest acts among appended, edited, deleted, replayed, reordered and foreign events."""

from pathlib import Path
from random import Random

import pytest

from benchmarks.registry.history import TAMPERINGS
from benchmarks.registry.random_histories import run_histories, start_registry
from benchmarks.registry.site import own_folders

HISTORIES = 15


def test_no_history_misleads_a_reader(database: str, tmp_path: Path) -> None:
    counts, misled = run_histories(tmp_path / "registry", HISTORIES, database)
    assert misled == ""
    assert counts["histories"] >= HISTORIES
    assert counts["appended"]
    assert set(TAMPERINGS) & set(counts)


def test_oracle_detects_a_disabled_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle knows the requirements of production independently of the rules."""
    monkeypatch.setattr("worldtune.registry.log.release_status.ReleaseStatus.missing", lambda self, channel: [])
    place, draw = tmp_path / "registry", Random(0)

    def append_promotions() -> None:
        start = start_registry(place)
        for _ in range(40):
            history = start.new_history()
            history.make_ready([0] * 6)
            for _ in range(3):
                history.append_unchecked("sam", "channel_updated", [draw.randrange(9999) for _ in range(6)])
                history.check()

    with own_folders(place), pytest.raises(AssertionError, match="production holds a"):
        append_promotions()
