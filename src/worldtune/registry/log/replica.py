"""A verified replica of the state, under the user's own cache: what was verified once is not verified again.

It is bound to the registry's id, the founder's key, the newest event and the code of the rules. It is a help and no
more: when it cannot be read or written, everything is verified from the first event, and a note says so. Whoever can
write to it decides what this user is answered, and nobody else.
"""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import worldtune
from worldtune.errors import UserError
from worldtune.files import cache_folder, digest_bytes, make_folder
from worldtune.registry.log.entries import DamagedError, Entries, Note, digest_of
from worldtune.registry.log.event_log import Head
from worldtune.registry.log.state import State

WAIT_S = 2
TABLE = "CREATE TABLE entry (part TEXT, key TEXT, value TEXT, digest TEXT, PRIMARY KEY (part, key)) WITHOUT ROWID"
SCALARS = "state"


class Replica:
    """The replica of one registry; `note` is told why it is not used."""

    def __init__(self, registry: str, founder: str, note: Note) -> None:
        self.registry, self.founder, self.note = registry, founder, note
        self.path = cache_folder() / "registry" / f"{registry}-{founder[:16]}.db"

    @contextmanager
    def snapshot(self) -> Iterator[Entries | None]:
        """What it holds, as of one moment; None when there is nothing that can be used."""
        try:
            connection = self._open()
        except (sqlite3.Error, OSError, UserError) as error:
            self.note(f"the registry is verified from its first event, as {self._named} cannot be used: {error}")
            yield None
            return
        with closing(connection):
            yield Entries(connection, self.path, self.note)

    def load(self, entries: Entries | None) -> State:
        """The state that is kept; an empty one where there is none, or that of another founder or other rules."""
        empty = State(self.registry, self.founder)
        try:
            found = entries.entry(SCALARS, self._binding()) if entries else None
        except DamagedError as error:
            self.note(f"the registry is verified from its first event, as {self._named} is damaged: {error}")
            return empty
        if entries is None or found is None:
            return empty
        state = State(self.registry, self.founder, entries)
        state.head, state.clock, state.founded_at = Head(*found["head"]), found["clock"], found["founded_at"]
        state.stolen = frozenset(found["stolen"])
        return state

    def save(self, entries: Entries | None, state: State) -> None:
        """Keep a state. What cannot be kept, or another process kept meanwhile, is left: it is found out again."""
        if entries is None:
            return
        connection = entries.connection
        is_whole = state.stored is None or entries.rebuilt is not None
        rows = [
            (part, key, text, digest_of(part, key, text))
            for part, key, value in self._content(state, is_whole)
            for text in [json.dumps(value, separators=(",", ":"))]
        ]
        try:
            if is_whole:
                connection.execute("DELETE FROM entry")
            connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                self.note(f"{self._named} is not kept: {error}")
        except sqlite3.Error as error:
            self.note(f"{self._named} is not kept: {error}")

    @property
    def _named(self) -> str:
        return f"the replica {self.path}"

    def _content(self, state: State, is_whole: bool) -> Iterator[tuple[str, str, Any]]:
        yield SCALARS, self._binding(), state.scalars()
        for name, table in state.tables.items():
            for key, value in table.items() if is_whole else table.changed.items():
                yield name, key, table.encode(value)

    def _binding(self) -> str:
        return f"{self.registry} {self.founder} {code_digest()}"

    def _open(self) -> sqlite3.Connection:
        """A connection whose snapshot begins now."""
        make_folder(self.path.parent)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        found = self.path.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise UserError("others may write to it", where=str(self.path), mend="Remove it.")
        connection = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
        try:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                for command in ("PRAGMA journal_mode=WAL", TABLE):
                    connection.execute(command)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM entry WHERE part = ''").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection


@cache
def code_digest() -> str:
    """Names the code that decides what a state is: a replica of other rules is not used."""
    registry = Path(__file__).parent.parent
    files = [*sorted(registry.glob("*.py")), *sorted((registry / "log").glob("*.py"))]
    return digest_bytes(b"".join(path.read_bytes() for path in files) + worldtune.__version__.encode())[:16]
