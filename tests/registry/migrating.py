"""What a process of its own does that begins a registry's tables. Little is imported: each process imports it anew."""

from pathlib import Path

from worldtune.registry import database


def migrated(url: str, folder: str) -> str | None:
    """Make the tables, and say of which schema they are then."""
    engine = database.engine_of(url)
    database.migrate(engine, Path(folder))
    with database.reading(engine) as connection:
        return database.schema_of(connection)
