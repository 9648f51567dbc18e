"""The function that a separate process runs to create a registry's tables. It imports little, to start fast."""

from pathlib import Path

from worldtune.registry.store import database


def migrate_database(url: str, folder: str) -> str | None:
    """Create the tables and return their schema version."""
    engine = database.open_engine(url)
    database.migrate(engine, Path(folder))
    with database.read_transaction(engine) as connection:
        return database.schema_version(connection)
