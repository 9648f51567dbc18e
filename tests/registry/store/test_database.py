"""Creating a registry: once, by one process, with this schema, at the configured location."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.registry import create_registry, join_registry, open_registry
from worldtune.registry.releases.add import add_release
from worldtune.registry.signing.keys import generate_key
from worldtune.registry.store import database
from worldtune.registry.store.schema import METADATA, SCHEMA_VERSION
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import list_events
from ..migrating import migrate_database


class TestBeginning:
    def test_second_registry_in_the_same_folder_is_rejected(self, local: Team) -> None:
        with pytest.raises(RegistryError, match="this folder already holds a registry"):
            create_registry(local.registry.folder, "ann", local["ann"])

    def test_interrupted_creation_can_be_repeated(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        key = generate_key(tmp_path / "ann.pem")
        with monkeypatch.context() as patch:
            patch.setattr("worldtune.registry.registry._open", killed)
            with pytest.raises(KeyboardInterrupt):
                create_registry(tmp_path / "r", "ann", key)
        assert verify(create_registry(tmp_path / "r", "ann", key)).is_valid

    def test_concurrent_migrations_create_the_tables_once(self, database: str, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            done = pool.starmap(migrate_database, [(database, str(tmp_path / "r"))] * 2, chunksize=1)
        assert done == [SCHEMA_VERSION] * 2

    def test_simultaneous_first_connections_wait_for_each_other(self, tmp_path: Path) -> None:
        def connect(file: Path) -> str:
            together.wait()
            with database.open_engine(f"sqlite:///{file}").connect() as connection:
                return str(connection.execute(text("PRAGMA journal_mode")).scalar_one())

        for index in range(100):  # before the mend, about one file in ten failed
            together = threading.Barrier(4)
            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(connect, [tmp_path / f"{index}.db"] * 4)) == ["wal"] * 4

    def test_newer_schema_is_rejected(self, team: Team) -> None:
        with team.registry.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
        with pytest.raises(RegistryError, match=f"the newer schema 0099; this worldtune supports {SCHEMA_VERSION}"):
            open_registry(team.registry.folder)

    def test_migrated_tables_match_the_schema(self, team: Team) -> None:
        with database.read_transaction(team.registry.engine) as connection:
            assert database.schema_version(connection) == SCHEMA_VERSION
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []

    def test_another_machine_joins_with_the_founders_key_id(self, team: Team, tmp_path: Path) -> None:
        place = team.registry.config
        store = str(team.registry.folder)
        database_url = place.database
        founder = team["ann"].public_key.keyid
        with pytest.raises(TamperError, match="the registry was created by the key"):
            join_registry(tmp_path / "joined", "0" * 12, database_url, store)
        joined = join_registry(tmp_path / "joined", founder[:12], database_url, store)
        release = add_release(team.registry, team["sam"], NAME, team.another()).fact
        assert [event.fact for event in list_events(joined, ReleaseAdded)] == [release]
        assert verify(joined).is_valid

    def test_missing_registry_error_has_a_hint(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="there is no registry here"):
            open_registry(tmp_path)

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("mysql://here/x", "the database mysql is not supported"),
            ("nonsense", "Could not parse"),
            ("postgresql+psycopg://ann:secret@db/x", "contains a password"),
        ],
    )
    def test_invalid_database_url_is_rejected(self, tmp_path: Path, url: str, why: str) -> None:
        with pytest.raises(RegistryError, match=why) as error:
            create_registry(tmp_path / "r", "ann", generate_key(tmp_path / "k"), url)
        assert "secret" not in str(error.value)

    def test_unreachable_database_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="the event log cannot be used"):
            create_registry(
                tmp_path / "r", "ann", generate_key(tmp_path / "k"), "postgresql+psycopg://ann@127.0.0.1:9/x"
            )
