"""Who may sign what: roles, expiry, retirement, stolen keys."""

from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry import clock
from worldtune.registry.add import add
from worldtune.registry.enrolment import enrol, retire
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.releases import resolve
from worldtune.registry.verify import verify

from ..conftest import NAME, Team


class TestWhoMay:
    def test_a_key_that_nobody_enrolled_writes_nothing(self, team: Team, tmp_path: Path) -> None:
        stranger = make_key(tmp_path / "eve.pem")
        with pytest.raises(RegistryError, match="nobody here has the key"):
            add(team.registry, stranger, NAME, team.another())
        assert list(team.registry.store.digests()) == []

    def test_roles_are_held_to(self, team: Team) -> None:
        with pytest.raises(RegistryError, match="eva is evaluator, and it takes submitter or admin"):
            add(team.registry, team["eva"], NAME, team.another())
        with pytest.raises(RegistryError, match="bob is approver, and it takes admin"):
            retire(team.registry, team["bob"], team["sam"].public_key.keyid, "no")

    def test_an_expired_key_signs_no_more_and_what_it_signed_stays(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = add(team.registry, team["sam"], NAME, team.another()).fact
        later = clock.now() + timedelta(days=366)
        monkeypatch.setattr(clock, "now", lambda: later)
        with pytest.raises(RegistryError, match="the key of sam expired on"):
            add(team.registry, team["sam"], NAME, team.another())
        assert verify(team.registry).sound
        with team.registry.view() as state:
            assert resolve(state, release.name).release.fact == release

    def test_a_retired_key_signs_no_more(self, team: Team) -> None:
        add(team.registry, team["sam"], NAME, team.another())
        retire(team.registry, team["ann"], team["sam"].public_key.keyid[:12], "left")
        with pytest.raises(RegistryError, match="the key of sam was retired on"):
            add(team.registry, team["sam"], NAME, team.another())
        assert verify(team.registry).sound
        with pytest.raises(RegistryError, match="this key is enrolled already, as sam's"):
            enrol(
                team.registry,
                team["ann"],
                "sam",
                public_path(team.registry.folder / "keys/sam.pem"),
                ("admin",),
                None,
            )

    def test_of_a_stolen_key_nothing_counts(self, team: Team) -> None:
        add(team.registry, team["sam"], NAME, team.another())
        retire(team.registry, team["ann"], team["sam"].public_key.keyid, "stolen", stolen=True)
        with team.registry.view() as state, pytest.raises(RegistryError, match="it was released by a stolen key"):
            resolve(state, f"{NAME}@1")

    def test_the_last_administrator_stays(self, team: Team) -> None:
        with pytest.raises(RegistryError, match="nobody would be left to administer"):
            retire(team.registry, team["ann"], team["ann"].public_key.keyid, "bye")
