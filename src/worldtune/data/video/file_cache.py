"""A cache of what was measured of a file, valid until the file changes.

A file is identified by its path, inode, size and two timestamps: the mtime, which a copy may set, and the ctime, which
nobody can set. A file that changed within the last two seconds is not cached: a further
change could leave all of these as they are (git calls such a file racy).
"""

import os
import sqlite3
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import get_ident

from worldtune.core.files import cache_folder, digest_file, make_folder
from worldtune.errors import DataError, UserError

RACY_NS = 2_000_000_000
CREATE_TABLE = (
    "CREATE TABLE IF NOT EXISTS cache (file TEXT, key TEXT, value BLOB, PRIMARY KEY (file, key)) WITHOUT ROWID"
)


def cached(path: Path, key: str, compute: Callable[[], dict[str, bytes]]) -> bytes:
    """Return `compute()[key]`, from the cache if it is there; all entries of `compute()` are cached.

    Raise DataError if the file is missing or changes meanwhile, UserError if the cache cannot be written.
    """
    file = file_state(path)
    try:
        connection = _connect(cache_folder(), os.getpid(), get_ident())
        row = connection.execute("SELECT value FROM cache WHERE file = ? AND key = ?", (file, key)).fetchone()
        if row is not None:
            return bytes(row[0])
        computed = compute()
        if file_state(path) != file:
            hint = "Wait until the file is complete, then open the dataset again."
            raise DataError("the file changed while it was read", where=str(path), hint=hint)
        if time.time_ns() - path.stat().st_mtime_ns > RACY_NS:
            with connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO cache VALUES (?, ?, ?)",
                    [(file, name, value) for name, value in computed.items()],
                )
    except sqlite3.Error as error:
        hint = "Free disk space, or delete the cache: its contents are computed again."
        raise UserError(
            f"the cache cannot be used: {error}", where=str(_database_path(cache_folder())), hint=hint
        ) from error
    return computed[key]


def cached_file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes. Raise DataError as `cached` does."""
    return cached(path, "sha256", lambda: {"sha256": digest_file(path).encode()}).decode()


def file_state(path: Path) -> str:
    """Return a text that changes whenever the file changes. Raise DataError if it is missing."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(
            "the video file is missing", where=str(path), hint="Restore it or remove its episode."
        ) from error
    return (
        f"{state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {os.path.abspath(path)}"
    )


def _database_path(folder: Path) -> Path:
    return folder / "file_cache.sqlite"


@lru_cache(maxsize=8)
def _connect(folder: Path, process: int, thread: int) -> sqlite3.Connection:
    """Return a connection for one thread of one process: SQLite allows no other use.

    The journal is SQLite's default: a write-ahead log does not work if machines share the folder over a network.
    """
    make_folder(folder)
    connection = sqlite3.connect(_database_path(folder), timeout=60, check_same_thread=False)
    connection.execute("PRAGMA synchronous=OFF")  # after a power failure the contents are computed again
    connection.execute(CREATE_TABLE)
    return connection
