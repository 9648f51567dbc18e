"""A verified replica of the state in the user's cache, so that events are verified once only.

It is bound to the registry's id, the founder's key, the newest event and the code of the rules. If it cannot be read or
written, everything is verified from the first event, and a note says so. A writer of this cache can mislead this user,
and nobody else.
"""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from worldtune.core.code_digest import code_digest
from worldtune.core.files import cache_folder, make_folder
from worldtune.errors import UserError
from worldtune.registry.log.entries import DamagedEntryError, Entries, Note, entry_digest
from worldtune.registry.log.event_log import Head
from worldtune.registry.log.state import State

TIMEOUT_S = 2
CREATE_TABLE = (
    "CREATE TABLE entry (table_name TEXT, key TEXT, value TEXT, digest TEXT, PRIMARY KEY (table_name, key)) "
    "WITHOUT ROWID"
)
SCALARS = "state"
RULES = (__name__, "worldtune.registry.log.replay")
"""The modules that determine the state: a replica made by other code is not used."""


class Replica:
    """The replica of one registry; `note` receives the reason if it is not used."""

    def __init__(self, registry: str, founder: str, note: Note) -> None:
        self.registry, self.founder, self.note = registry, founder, note
        self.path = cache_folder() / "registry" / f"{registry}-{founder[:16]}.db"

    @contextmanager
    def snapshot(self) -> Iterator[Entries | None]:
        """Yield a snapshot of its entries, or None if it cannot be used."""
        try:
            connection = self._open()
        except (sqlite3.Error, OSError, UserError) as error:
            self.note(f"verifying from the first event because {self._description} cannot be used: {error}")
            yield None
            return
        with closing(connection):
            yield Entries(connection, self.path, self.note)

    def load(self, entries: Entries | None) -> State:
        """Return the saved state, or an empty one if none was saved for this founder and these rules."""
        empty = State(self.registry, self.founder)
        try:
            found = entries.entry(SCALARS, self._state_key()) if entries else None
        except DamagedEntryError as error:
            self.note(f"verifying from the first event because {self._description} is damaged: {error}")
            return empty
        if entries is None or found is None:
            return empty
        state = State(self.registry, self.founder, entries)
        state.head, state.clock, state.created_at = Head(*found["head"]), found["clock"], found["created_at"]
        state.stolen = frozenset(found["stolen"])
        return state

    def save(self, entries: Entries | None, state: State) -> None:
        """Save a state. If that fails or another process saved meanwhile, the events will be verified again."""
        if entries is None:
            return
        connection = entries.connection
        is_whole = state.stored is None or entries.rebuilt is not None
        rows = [
            (table, key, text, entry_digest(table, key, text))
            for table, key, value in self._content(state, is_whole)
            for text in [json.dumps(value, separators=(",", ":"))]
        ]
        try:
            if is_whole:
                connection.execute("DELETE FROM entry")
            connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                self.note(f"{self._description} was not saved: {error}")
        except sqlite3.Error as error:
            self.note(f"{self._description} was not saved: {error}")

    @property
    def _description(self) -> str:
        return f"the replica {self.path}"

    def _content(self, state: State, is_whole: bool) -> Iterator[tuple[str, str, Any]]:
        yield SCALARS, self._state_key(), state.scalars()
        for name, table in state.tables.items():
            for key, value in table.items() if is_whole else table.changed.items():
                yield name, key, table.encode(value)

    def _state_key(self) -> str:
        return f"{self.registry} {self.founder} {code_digest(*RULES)}"

    def _open(self) -> sqlite3.Connection:
        """Return a connection whose snapshot begins now."""
        make_folder(self.path.parent)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        found = self.path.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise UserError("other users may write to this file", where=str(self.path), hint="Remove it.")
        connection = sqlite3.connect(self.path, timeout=TIMEOUT_S, isolation_level=None)
        try:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                for command in ("PRAGMA journal_mode=WAL", CREATE_TABLE):
                    connection.execute(command)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM entry WHERE table_name = ''").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection
