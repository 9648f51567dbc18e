"""The database of the event log: SQLite in WAL mode, or PostgreSQL by URL. One writer at a time, concurrent readers."""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from worldtune.core.files import make_folder, scratch_folder
from worldtune.errors import BusyError, RegistryError, first_line
from worldtune.registry.store.schema import SCHEMA_VERSION

TIMEOUT_S = 60
SQLITE_SUFFIXES = ("", "-wal")  # suffixes of the files of a SQLite database
WRITER_LOCK_ID = 0x776F726C64  # "world": the PostgreSQL advisory lock of writers
WRITE_OPTION = "worldtune_writes"


def open_engine(url: str) -> Engine:
    """Return the engine of a URL. Raise RegistryError if it is malformed, of another database, or holds a password."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise RegistryError(
                f"the database {parsed.get_backend_name()} is not supported",
                where="database",
                hint="Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.",
            )
        if parsed.password or "password" in parsed.query:
            hint = "Remove the password: PostgreSQL reads ~/.pgpass and PGPASSWORD."
            raise RegistryError("the database URL contains a password", where="database", hint=hint)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(url)
        return create_engine(url, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        hint = "Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME (pip install 'worldtune[postgres]')."
        raise RegistryError(first_line(error), where="database", hint=hint) from error


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin in `begin` below, not in the driver
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(
            "BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITE_OPTION) else "BEGIN"
        )

    return engine


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:  # SQLite ignores its timeout while two connections create a file
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection with a stable snapshot of the log. Raise RegistryError if it cannot be reached."""
    with database_errors(engine), readable_engine(engine) as source, source.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def readable_engine(engine: Engine) -> Iterator[Engine]:
    """Yield the engine, or an engine on a copy if SQLite's files are read-only, because reading needs locks."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if file is None or not os.path.exists(file) or _can_write(Path(file)):
        yield engine
        return
    with scratch_folder() as folder:
        before = None
        while before != (
            before := _file_states(file)
        ):  # until nothing was written during the copy, so that it holds one state
            _copy_database(file, folder)
        copy = _sqlite_engine(f"sqlite:///{folder}/log.db")
        try:
            yield copy
        finally:
            copy.dispose()


def _copy_database(file: str, folder: Path) -> None:
    for kind in SQLITE_SUFFIXES:
        (folder / f"log.db{kind}").unlink(missing_ok=True)
        if os.path.exists(file + kind):
            shutil.copyfile(file + kind, folder / f"log.db{kind}")


def _file_states(file: str) -> list[tuple[int, int] | None]:
    """Return the size and time of each file of a database."""
    found = [Path(file + kind) for kind in SQLITE_SUFFIXES]
    return [(path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None for path in found]


def _can_write(file: Path) -> bool:
    return os.access(file.parent, os.W_OK) and os.access(file, os.W_OK)


@contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """Yield the only writing connection; its writes become visible together when the block succeeds, else not at all.

    Raise BusyError if another process writes for a minute, RegistryError if the database is unreachable or full.
    """
    with database_errors(engine), engine.connect() as connection:
        connection = connection.execution_options(**{WRITE_OPTION: True})
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = '{TIMEOUT_S}s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK_ID})
            yield connection


@contextmanager
def database_errors(engine: Engine) -> Iterator[None]:
    """Turn database errors into a one-line RegistryError."""
    where = engine.url.render_as_string()
    try:
        yield
    except DBAPIError as error:
        message = first_line(error.orig) if error.orig else first_line(error)
        if "database is locked" in message or "lock timeout" in message:
            what = f"another process has been writing for {TIMEOUT_S} seconds"
            raise BusyError(what, where=where, hint="Try again.") from error
        hint = "Check that the database runs, its free space and your access; nothing was lost."
        raise RegistryError(f"the event log cannot be used: {message}", where=where, hint=hint) from error


def schema_version(connection: Connection) -> str | None:
    """Return the newest migration applied, or None if there is no log yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def migrate(engine: Engine, folder: Path) -> None:
    """Migrate the tables to this version, in one process at a time.

    Raise RegistryError if they are newer.
    """
    with read_transaction(engine) as connection:
        if (found := schema_version(connection)) == SCHEMA_VERSION:
            return
    if found is not None and found > SCHEMA_VERSION:
        raise RegistryError(
            f"the registry has the newer schema {found}; this worldtune supports {SCHEMA_VERSION}",
            where=engine.url.render_as_string(),
            hint="Upgrade worldtune.",
        )
    make_folder(folder)
    with (folder / ".migration.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with write_transaction(engine) as connection:  # on PostgreSQL its advisory lock excludes other machines
            if schema_version(connection) != SCHEMA_VERSION:
                _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic.command import upgrade  # slow to import and rarely needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    upgrade(config, SCHEMA_VERSION)
