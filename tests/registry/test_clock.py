"""The time of the record: a clock that was set back, one that was ahead, and who sets it right."""

from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry import clock
from worldtune.registry.add import add
from worldtune.registry.enrolment import enrol, set_clock
from worldtune.registry.facts import Labelled
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.labels import label
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import faults_of, rogue
from .prepared import released


class TestTime:
    def test_a_clock_that_was_set_back_stops_the_writing(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        released(team)
        earlier = clock.now() - timedelta(hours=1)
        monkeypatch.setattr(clock, "now", lambda: earlier)
        with pytest.raises(RegistryError, match="Set this clock right"):
            label(team.registry, team["sam"], NAME, {"a": "b"})

    def test_clocks_of_two_machines_may_differ_a_little_and_time_never_goes_back(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = add(team.registry, team["sam"], NAME, team.another())
        earlier = clock.time_of(before.at) - timedelta(seconds=30)
        monkeypatch.setattr(clock, "now", lambda: earlier)
        assert label(team.registry, team["sam"], NAME, {"a": "b"}).at == before.at

    def test_a_clock_that_was_ahead_is_set_right_by_an_administrator_and_nobody_else(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = clock.now()
        with monkeypatch.context() as wrong:
            wrong.setattr(clock, "now", lambda: real + timedelta(days=300))
            released(team)
        with pytest.raises(RegistryError, match="have an administrator run `registry clock`"):
            label(team.registry, team["sam"], NAME, {"a": "b"})
        with pytest.raises(RegistryError, match="bob is approver, and it takes admin"):
            set_clock(team.registry, team["bob"], "it was 2027")
        assert set_clock(team.registry, team["ann"], "it was 2027").at < clock.text_of(real + timedelta(days=1))
        assert label(team.registry, team["sam"], NAME, {"a": "b"}).at < clock.text_of(real + timedelta(days=1))
        assert verify(team.registry).faults == []
        with pytest.raises(RegistryError, match="not ahead of this machine's clock"):
            set_clock(team.registry, team["ann"], "once more")

    def test_a_clock_is_not_set_back_before_the_registry_began(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clock, "now", lambda: clock.time_of("1970-01-02T00:00:00.000000Z"))
        with pytest.raises(RegistryError, match="and the registry was founded on"):
            set_clock(team.registry, team["ann"], "the battery was dead")

    def test_a_key_that_expired_does_not_make_itself_valid_again(
        self, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dan = make_key(tmp_path / "dan.pem")
        enrol(team.registry, team["ann"], "dan", public_path(tmp_path / "dan.pem"), ("admin",), "1d")
        real = clock.now()
        monkeypatch.setattr(clock, "now", lambda: real + timedelta(days=2))
        released(team)
        monkeypatch.setattr(clock, "now", lambda: real + timedelta(hours=1))
        with pytest.raises(RegistryError, match="the key of dan expires, and the clock is set by one that does not"):
            set_clock(team.registry, dan, "it is yesterday")

    def test_an_event_older_than_the_one_before_is_a_fault_without_that(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released(team)
        earlier = clock.text_of(clock.now() - timedelta(days=1))
        with monkeypatch.context() as wrong:
            wrong.setattr("worldtune.registry.log.writer.time_after", lambda last: earlier)
            with pytest.raises(RegistryError, match="it is older than the event before"):
                label(team.registry, team["sam"], NAME, {"a": "b"})
        rogue(team.registry, team["sam"], Labelled(adapter=NAME, labels={"a": "b"}), at=earlier)
        with team.registry.view() as state:
            assert state.labels[NAME] == {}
        assert "it is older than the event before" in faults_of(team)
