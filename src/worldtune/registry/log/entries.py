"""The entries of a replica, each with its digest. If one is damaged, the state is rebuilt from the log."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from worldtune.core.files import digest_bytes
from worldtune.errors import RegistryError, UserError
from worldtune.registry.log.state import State
from worldtune.registry.store.manifest import parse_json

Note = Callable[[str], None]


class DamagedEntryError(Exception):
    """The error of an entry that differs from what was saved."""


class Entries:
    """The entries of a replica in one snapshot: JSON by table and key.

    `rebuild` returns the same state from the log. It is called once, at the first damaged entry, so that a damaged
    replica neither fails a read nor changes its result.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, note: Note) -> None:
        self.connection, self.path, self.note = connection, path, note
        self.rebuild: Callable[[], State] | None = None
        self.rebuilt: State | None = None

    def get(self, table: str, key: str) -> Any | None:
        if self.rebuilt is None:
            try:
                return self.entry(table, key)
            except DamagedEntryError as error:
                self.rebuilt = self._rebuild_from_log(error)
        found = self.rebuilt.tables[table].get(key)
        return None if found is None else self.rebuilt.tables[table].encode(found)

    def scan(self, table: str, prefix: str) -> Iterator[tuple[str, Any]]:
        if self.rebuilt is None:
            query = "SELECT key, value, digest FROM entry WHERE table_name = ? AND key >= ? AND key < ? ORDER BY key"
            try:
                yield from list(self._read(table, query, (table, prefix, prefix + "\U0010ffff")))
            except DamagedEntryError as error:
                self.rebuilt = self._rebuild_from_log(error)
            else:
                return
        encode = self.rebuilt.tables[table].encode
        yield from ((key, encode(value)) for key, value in self.rebuilt.tables[table].items(prefix))

    def entry(self, table: str, key: str) -> Any | None:
        """Return one entry as it was saved. Raise DamagedEntryError if it was changed."""
        query = "SELECT key, value, digest FROM entry WHERE table_name = ? AND key = ?"
        return next((value for _, value in self._read(table, query, (table, key))), None)

    def _read(self, table: str, query: str, values: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        try:
            for key, value, digest in self.connection.execute(query, values):
                if digest != entry_digest(table, key, value):
                    raise DamagedEntryError(f"the entry {key!r} of {table} was changed")
                yield key, parse_json(value, str(self.path))
        except (sqlite3.Error, RegistryError) as error:
            raise DamagedEntryError(str(error)) from error

    def _rebuild_from_log(self, error: DamagedEntryError) -> State:
        """Rebuild the state. Raise UserError on failure: the reducer takes RegistryError for a violated rule."""
        self.note(f"verifying from the first event because the replica {self.path} is damaged: {error}")
        assert self.rebuild is not None
        try:
            return self.rebuild()
        except UserError as fault:
            raise UserError(fault.what, where=fault.where, hint=fault.hint) from fault


def entry_digest(table: str, key: str, value: str) -> str:
    return digest_bytes(f"{table}\0{key}\0{value}".encode(errors="surrogatepass"))[:16]
