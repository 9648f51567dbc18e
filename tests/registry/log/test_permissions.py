"""Permissions: roles, expiry, retirement, stolen keys."""

from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry import clock
from worldtune.registry.governance.admin import enroll, retire_key
from worldtune.registry.log.resolve import resolve
from worldtune.registry.releases.add import add_release
from worldtune.registry.signing.keys import generate_key, public_key_path
from worldtune.registry.verify import verify

from ..conftest import NAME, Team


class TestPermissions:
    def test_unknown_key_cannot_write(self, team: Team, tmp_path: Path) -> None:
        stranger = generate_key(tmp_path / "eve.pem")
        with pytest.raises(RegistryError, match="is not enrolled in this registry"):
            add_release(team.registry, stranger, NAME, team.another())
        assert list(team.registry.store.digests()) == []

    def test_roles_are_enforced(self, team: Team) -> None:
        with pytest.raises(RegistryError, match="eva has the role evaluator; this needs submitter or admin"):
            add_release(team.registry, team["eva"], NAME, team.another())
        with pytest.raises(RegistryError, match="bob has the role approver; this needs admin"):
            retire_key(team.registry, team["bob"], team["sam"].public_key.keyid, "no")

    def test_expired_key_cannot_sign_but_past_signatures_count(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = add_release(team.registry, team["sam"], NAME, team.another()).fact
        later = clock.utc_now() + timedelta(days=366)
        monkeypatch.setattr(clock, "utc_now", lambda: later)
        with pytest.raises(RegistryError, match="the key of sam expired on"):
            add_release(team.registry, team["sam"], NAME, team.another())
        assert verify(team.registry).is_valid
        with team.registry.view() as state:
            assert resolve(state, release.name).release.fact == release

    def test_retired_key_cannot_sign(self, team: Team) -> None:
        add_release(team.registry, team["sam"], NAME, team.another())
        retire_key(team.registry, team["ann"], team["sam"].public_key.keyid[:12], "left")
        with pytest.raises(RegistryError, match="the key of sam was retired on"):
            add_release(team.registry, team["sam"], NAME, team.another())
        assert verify(team.registry).is_valid
        with pytest.raises(RegistryError, match="this key is already enrolled for sam"):
            enroll(
                team.registry,
                team["ann"],
                "sam",
                public_key_path(team.registry.folder / "keys/sam.pem"),
                ("admin",),
                None,
            )

    def test_release_of_a_stolen_key_does_not_resolve(self, team: Team) -> None:
        add_release(team.registry, team["sam"], NAME, team.another())
        retire_key(team.registry, team["ann"], team["sam"].public_key.keyid, "stolen", stolen=True)
        with (
            team.registry.view() as state,
            pytest.raises(RegistryError, match="the release was signed by a stolen key"),
        ):
            resolve(state, f"{NAME}@1")

    def test_last_administrator_cannot_be_retired(self, team: Team) -> None:
        with pytest.raises(RegistryError, match="the registry would have no administrator left"):
            retire_key(team.registry, team["ann"], team["ann"].public_key.keyid, "bye")
