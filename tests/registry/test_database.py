"""How a registry begins: once, by one process, of this schema or an older one, and where it is said."""

import multiprocessing
import tarfile
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from worldtune.registry.tables import METADATA, SCHEMA

from worldtune.errors import RegistryError, TamperError
from worldtune.registry import database
from worldtune.registry.add import add
from worldtune.registry.facts import (
    Released,
)  # fmt: skip
from worldtune.registry.keys import make_key
from worldtune.registry.registry import found_registry, join_registry, open_registry
from worldtune.registry.releases import resolve
from worldtune.registry.verify import verify

from .conftest import NAME, Team


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
            done = pool.starmap(_migrate, [(database, str(tmp_path / "r"))] * 2, chunksize=1)
        assert done == [SCHEMA] * 2

    def test_a_newer_schema_is_refused(self, team: Team) -> None:
        with team.registry.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
        with pytest.raises(RegistryError, match=f"of a newer schema, 0099; this worldtune knows {SCHEMA}"):
            open_registry(team.registry.folder)

    def test_a_registry_of_the_first_schema_is_brought_up_and_is_sound(self, tmp_path: Path) -> None:
        with tarfile.open(Path(__file__).parent / "data" / "schema-0001.tar.xz") as tar:
            tar.extractall(tmp_path, filter="data")
        registry = open_registry(tmp_path)
        found = verify(registry)
        assert (found.faults, found.events, found.releases) == ([], 12, 2)
        with registry.view() as view:
            assert database.schema_of(view.connection) == SCHEMA
            assert compare_metadata(MigrationContext.configure(view.connection), METADATA) == []
            with pytest.raises(RegistryError, match="cell7/front/pick@2 is revoked: bad"):
                resolve(view, f"{NAME}@staging")
        with (
            pytest.raises(DBAPIError, match="what is in the record is not changed"),
            registry.engine.begin() as connection,
        ):
            connection.execute(text("DELETE FROM revoked"))

    def test_another_machine_joins_by_the_founders_key(self, team: Team, tmp_path: Path) -> None:
        place = team.registry.place
        store = str(team.registry.folder)
        database_url = place.database
        founder = team["ann"].public_key.keyid
        with pytest.raises(TamperError, match="it was founded by the key"):
            join_registry(tmp_path / "joined", "0" * 12, database_url, store)
        joined = join_registry(tmp_path / "joined", founder[:12], database_url, store)
        release = add(team.registry, team["sam"], NAME, team.another()).fact
        with joined.view() as view:
            assert [event.fact for event in view.facts(Released)] == [release]
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
        with pytest.raises(RegistryError, match="the record cannot be used"):
            found_registry(tmp_path / "r", "ann", make_key(tmp_path / "k"), "postgresql+psycopg://ann@127.0.0.1:9/x")


def _migrate(url: str, folder: str) -> str | None:
    engine = database.engine_of(url)
    database.migrate(engine, Path(folder))
    with database.reading(engine) as connection:
        return database.schema_of(connection)
