"""The database of the event log: SQLite in WAL mode, or PostgreSQL by URL. One writer at a time, readers beside it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from worldtune.errors import BusyError, RegistryError, first_line
from worldtune.files import make_folder, scratch_folder
from worldtune.registry.log.schema import SCHEMA

WAIT_S = 60
WAL = ("", "-wal")  # endings of the files of a database of SQLite
WRITERS = 0x776F726C64  # "world": the advisory lock of PostgreSQL that writers take
WRITES = "worldtune_writes"


def engine_of(url: str) -> Engine:
    """Raises RegistryError for a URL that is none, names another database, or holds a password."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise RegistryError(
                f"{parsed.get_backend_name()} is no database that is used",
                where="database",
                mend="Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.",
            )
        if parsed.password or "password" in parsed.query:
            mend = "Take it out of the URL: PostgreSQL reads ~/.pgpass and PGPASSWORD."
            raise RegistryError("the database's URL holds a password", where="database", mend=mend)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(url)
        return create_engine(url, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        mend = "Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME (pip install 'worldtune[postgres]')."
        raise RegistryError(first_line(error), where="database", mend=mend) from error


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": WAIT_S})

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's `begin` below begins, not the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITES) else "BEGIN")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A view of the log that does not change meanwhile. Raises RegistryError when it cannot be reached."""
    with reached(engine), readable(engine) as source, source.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def readable(engine: Engine) -> Iterator[Engine]:
    """The engine itself; of SQLite's files where nothing can be written, that of a copy: reading them needs locks."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if file is None or not os.path.exists(file) or _can_write(Path(file)):
        yield engine
        return
    with scratch_folder() as folder:
        before = None
        while before != (before := _times(file)):  # until nobody wrote there meanwhile: it would be half of two states
            _copied(file, folder)
        copy = _sqlite(f"sqlite:///{folder}/log.db")
        try:
            yield copy
        finally:
            copy.dispose()


def _copied(file: str, folder: Path) -> None:
    for kind in WAL:
        (folder / f"log.db{kind}").unlink(missing_ok=True)
        if os.path.exists(file + kind):
            shutil.copyfile(file + kind, folder / f"log.db{kind}")


def _times(file: str) -> list[tuple[int, int] | None]:
    """Size and time of the files of a database."""
    found = [Path(file + kind) for kind in WAL]
    return [(path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None for path in found]


def _can_write(file: Path) -> bool:
    return os.access(file.parent, os.W_OK) and os.access(file, os.W_OK)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """The one writer: all that is written becomes visible when the block ends well, or nothing.

    Raises BusyError when another writes for a minute, RegistryError when the database cannot be reached or is full.
    """
    with reached(engine), engine.connect() as connection:
        connection = connection.execution_options(**{WRITES: True})
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_S}s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITERS})
            yield connection


@contextmanager
def reached(engine: Engine) -> Iterator[None]:
    """The database's faults as one line."""
    where = engine.url.render_as_string()
    try:
        yield
    except DBAPIError as error:
        said = first_line(error.orig) if error.orig else first_line(error)
        if "database is locked" in said or "lock timeout" in said:
            what = f"another process has been writing for {WAIT_S} seconds"
            raise BusyError(what, where=where, mend="Try again.") from error
        mend = "Check that it runs, its space and your access; nothing was lost."
        raise RegistryError(f"the event log cannot be used: {said}", where=where, mend=mend) from error


def schema_of(connection: Connection) -> str | None:
    """The newest migration that was done; None where there is no log yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def migrate(engine: Engine, folder: Path) -> None:
    """Bring the tables to this version's, by one process at a time.

    Raises RegistryError when they are of a newer one.
    """
    with reading(engine) as connection:
        if (found := schema_of(connection)) == SCHEMA:
            return
    if found is not None and found > SCHEMA:
        raise RegistryError(
            f"the registry is of a newer schema, {found}; this worldtune knows {SCHEMA}",
            where=engine.url.render_as_string(),
            mend="Upgrade worldtune.",
        )
    make_folder(folder)
    with (folder / ".migration.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with writing(engine) as connection:  # on PostgreSQL its advisory lock holds other machines off
            if schema_of(connection) != SCHEMA:
                _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic.command import upgrade  # slow to import, and seldom needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    upgrade(config, SCHEMA)
