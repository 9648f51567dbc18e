"""How a registry begins: once, by one process, of this schema, and where it is said."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from worldtune.errors import RegistryError, TamperError
from worldtune.registry import database
from worldtune.registry.add import add
from worldtune.registry.facts import Released
from worldtune.registry.keys import make_key
from worldtune.registry.log.schema import METADATA, SCHEMA
from worldtune.registry.registry import found_registry, join_registry, open_registry
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import events_of
from .migrating import migrated


class TestBeginning:
    def test_a_second_registry_in_the_same_place_is_refused(self, local: Team) -> None:
        with pytest.raises(RegistryError, match="there is a registry here already"):
            found_registry(local.registry.folder, "ann", local["ann"])

    def test_a_founding_that_was_cut_off_is_done_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        key = make_key(tmp_path / "ann.pem")
        with monkeypatch.context() as patch:
            patch.setattr("worldtune.registry.registry._opened", killed)
            with pytest.raises(KeyboardInterrupt):
                found_registry(tmp_path / "r", "ann", key)
        assert verify(found_registry(tmp_path / "r", "ann", key)).sound

    def test_two_processes_begin_at_once_and_one_makes_the_tables(self, database: str, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            done = pool.starmap(migrated, [(database, str(tmp_path / "r"))] * 2, chunksize=1)
        assert done == [SCHEMA] * 2

    def test_a_newer_schema_is_refused(self, team: Team) -> None:
        with team.registry.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
        with pytest.raises(RegistryError, match=f"of a newer schema, 0099; this worldtune knows {SCHEMA}"):
            open_registry(team.registry.folder)

    def test_the_tables_are_those_that_are_read(self, team: Team) -> None:
        with database.reading(team.registry.engine) as connection:
            assert database.schema_of(connection) == SCHEMA
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []

    def test_another_machine_joins_by_the_founders_key(self, team: Team, tmp_path: Path) -> None:
        place = team.registry.place
        store = str(team.registry.folder)
        database_url = place.database
        founder = team["ann"].public_key.keyid
        with pytest.raises(TamperError, match="it was founded by the key"):
            join_registry(tmp_path / "joined", "0" * 12, database_url, store)
        joined = join_registry(tmp_path / "joined", founder[:12], database_url, store)
        release = add(team.registry, team["sam"], NAME, team.another()).fact
        assert [event.fact for event in events_of(joined, Released)] == [release]
        assert verify(joined).sound

    def test_where_there_is_none_the_mend_says_how_to_begin(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="there is no registry here"):
            open_registry(tmp_path)

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("mysql://here/x", "mysql is no database that is used"),
            ("nonsense", "Could not parse"),
            ("postgresql+psycopg://ann:secret@db/x", "holds a password"),
        ],
    )
    def test_a_database_that_is_none_is_refused(self, tmp_path: Path, url: str, why: str) -> None:
        with pytest.raises(RegistryError, match=why) as error:
            found_registry(tmp_path / "r", "ann", make_key(tmp_path / "k"), url)
        assert "secret" not in str(error.value)

    def test_a_database_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="the event log cannot be used"):
            found_registry(tmp_path / "r", "ann", make_key(tmp_path / "k"), "postgresql+psycopg://ann@127.0.0.1:9/x")
