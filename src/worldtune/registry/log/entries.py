"""The entries of a replica, each with its digest. What stands instead of a damaged one is found out from the log."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from worldtune.errors import RegistryError, UserError
from worldtune.files import digest_bytes
from worldtune.registry.log.state import State
from worldtune.registry.manifest import parse_json

Note = Callable[[str], None]


class DamagedError(Exception):
    """An entry is not what was kept."""


class Entries:
    """The entries of a replica as one snapshot holds them: JSON by table and key.

    `rebuild` gives the same state from the log. It is asked once, when an entry is damaged: reading never fails, and
    never says anything else, for what became of the replica.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, note: Note) -> None:
        self.connection, self.path, self.note = connection, path, note
        self.rebuild: Callable[[], State] | None = None
        self.rebuilt: State | None = None

    def get(self, table: str, key: str) -> Any | None:
        if self.rebuilt is None:
            try:
                return self.entry(table, key)
            except DamagedError as error:
                self.rebuilt = self._from_log(error)
        found = self.rebuilt.tables[table].get(key)
        return None if found is None else self.rebuilt.tables[table].encode(found)

    def scan(self, table: str, prefix: str) -> Iterator[tuple[str, Any]]:
        if self.rebuilt is None:
            query = "SELECT key, value, digest FROM entry WHERE part = ? AND key >= ? AND key < ? ORDER BY key"
            try:
                yield from list(self._read(table, query, (table, prefix, prefix + "\U0010ffff")))
            except DamagedError as error:
                self.rebuilt = self._from_log(error)
            else:
                return
        encode = self.rebuilt.tables[table].encode
        yield from ((key, encode(value)) for key, value in self.rebuilt.tables[table].items(prefix))

    def entry(self, part: str, key: str) -> Any | None:
        """One entry as it was kept. Raises DamagedError."""
        query = "SELECT key, value, digest FROM entry WHERE part = ? AND key = ?"
        return next((value for _, value in self._read(part, query, (part, key))), None)

    def _read(self, part: str, query: str, values: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        try:
            for key, value, digest in self.connection.execute(query, values):
                if digest != digest_of(part, key, value):
                    raise DamagedError(f"the entry {key!r} of {part} is not what was kept")
                yield key, parse_json(value, str(self.path))
        except (sqlite3.Error, RegistryError) as error:
            raise DamagedError(str(error)) from error

    def _from_log(self, error: DamagedError) -> State:
        """Raises UserError, and not RegistryError, which to the reducer is what the rules say."""
        self.note(f"the registry is verified from its first event, as the replica {self.path} is damaged: {error}")
        assert self.rebuild is not None
        try:
            return self.rebuild()
        except UserError as fault:
            raise UserError(fault.what, where=fault.where, mend=fault.mend) from fault


def digest_of(part: str, key: str, value: str) -> str:
    return digest_bytes(f"{part}\0{key}\0{value}".encode(errors="surrogatepass"))[:16]
