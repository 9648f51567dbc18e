"""The time of the log: clocks that are behind or ahead, and their correction."""

from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry import clock
from worldtune.registry.events.events import Labeled
from worldtune.registry.governance.admin import enroll, set_clock
from worldtune.registry.releases.add import add_release
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.signing.keys import generate_key, public_key_path
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import append_unchecked, find_faults
from .prepared import make_release


class TestTime:
    def test_clock_far_behind_cannot_write(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        make_release(team)
        earlier = clock.utc_now() - timedelta(hours=1)
        monkeypatch.setattr(clock, "utc_now", lambda: earlier)
        with pytest.raises(RegistryError, match="Correct this clock"):
            update_labels(team.registry, team["sam"], NAME, {"a": "b"})

    def test_small_clock_differences_are_tolerated(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        before = add_release(team.registry, team["sam"], NAME, team.another())
        earlier = clock.parse_time(before.at) - timedelta(seconds=30)
        monkeypatch.setattr(clock, "utc_now", lambda: earlier)
        assert update_labels(team.registry, team["sam"], NAME, {"a": "b"}).at == before.at

    def test_only_an_administrator_corrects_a_clock_that_was_ahead(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = clock.utc_now()
        with monkeypatch.context() as wrong:
            wrong.setattr(clock, "utc_now", lambda: real + timedelta(days=300))
            make_release(team)
        with pytest.raises(RegistryError, match="ask an administrator for `registry clock`"):
            update_labels(team.registry, team["sam"], NAME, {"a": "b"})
        with pytest.raises(RegistryError, match="bob has the role approver; this needs admin"):
            set_clock(team.registry, team["bob"], "it was 2027")
        assert set_clock(team.registry, team["ann"], "it was 2027").at < clock.format_time(real + timedelta(days=1))
        assert update_labels(team.registry, team["sam"], NAME, {"a": "b"}).at < clock.format_time(
            real + timedelta(days=1)
        )
        assert verify(team.registry).faults == []
        with pytest.raises(RegistryError, match="not ahead of this machine's clock"):
            set_clock(team.registry, team["ann"], "once more")

    def test_clock_cannot_be_set_before_the_registry_was_created(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clock, "utc_now", lambda: clock.parse_time("1970-01-02T00:00:00.000000Z"))
        with pytest.raises(RegistryError, match="but the registry was created on"):
            set_clock(team.registry, team["ann"], "the battery was dead")

    def test_expiring_key_cannot_set_the_clock(
        self, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dan = generate_key(tmp_path / "dan.pem")
        enroll(team.registry, team["ann"], "dan", public_key_path(tmp_path / "dan.pem"), ("admin",), "1d")
        real = clock.utc_now()
        monkeypatch.setattr(clock, "utc_now", lambda: real + timedelta(days=2))
        make_release(team)
        monkeypatch.setattr(clock, "utc_now", lambda: real + timedelta(hours=1))
        with pytest.raises(RegistryError, match="the key of dan expires; setting the clock needs a key that does not"):
            set_clock(team.registry, dan, "it is yesterday")

    def test_event_older_than_its_predecessor_is_a_fault(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        make_release(team)
        earlier = clock.format_time(clock.utc_now() - timedelta(days=1))
        with monkeypatch.context() as wrong:
            wrong.setattr("worldtune.registry.log.writer.next_event_time", lambda last: earlier)
            with pytest.raises(RegistryError, match="the event is older than the event before"):
                update_labels(team.registry, team["sam"], NAME, {"a": "b"})
        append_unchecked(team.registry, team["sam"], Labeled(adapter=NAME, labels={"a": "b"}), at=earlier)
        with team.registry.view() as state:
            assert state.labels[NAME] == {}
        assert "the event is older than the event before" in find_faults(team)
