"""What was found out about a file, remembered for as long as the file stays as it is.

A file is known by its path, inode, size and both times of change: that of its bytes, which a copy may be given, and
that of its inode, which nobody can set. One that changed within the last two seconds is not remembered: a further
change could leave all of them as they are (git calls such a file racy).
"""

import os
import sqlite3
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import get_ident

from worldtune.errors import DataError, UserError
from worldtune.files import cache_folder, digest_file, make_folder

RACY_NS = 2_000_000_000
TABLE = "CREATE TABLE IF NOT EXISTS seen (file TEXT, what TEXT, found BLOB, PRIMARY KEY (file, what)) WITHOUT ROWID"


def remembered(path: Path, what: str, find_out: Callable[[], dict[str, bytes]]) -> bytes:
    """`find_out()[what]`, or what that was when it was asked before; its other entries are remembered as well.

    Raises DataError when the file is missing or changes meanwhile, UserError when the cache cannot be written.
    """
    file = state_of(path)
    try:
        memory = _memory(cache_folder(), os.getpid(), get_ident())
        row = memory.execute("SELECT found FROM seen WHERE file = ? AND what = ?", (file, what)).fetchone()
        if row is not None:
            return bytes(row[0])
        found = find_out()
        if state_of(path) != file:
            mend = "Wait until it is written, and open the dataset again."
            raise DataError("the file changed while it was read", where=str(path), mend=mend)
        if time.time_ns() - path.stat().st_mtime_ns > RACY_NS:
            with memory:
                memory.executemany(
                    "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", [(file, name, each) for name, each in found.items()]
                )
    except sqlite3.Error as error:
        mend = "Make room, or delete it: what it remembers is found out again."
        raise UserError(f"the cache cannot be used: {error}", where=str(_place(cache_folder())), mend=mend) from error
    return found[what]


def seen_digest(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises DataError as `remembered` does."""
    return remembered(path, "sha256", lambda: {"sha256": digest_file(path).encode()}).decode()


def state_of(path: Path) -> str:
    """Another text whenever the file is another. Raises DataError when it is missing."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(
            "the video file is missing", where=str(path), mend="Restore it or remove its episode."
        ) from error
    return (
        f"{state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {os.path.abspath(path)}"
    )


def _place(folder: Path) -> Path:
    return folder / "seen.sqlite"


@lru_cache(maxsize=8)
def _memory(folder: Path, process: int, thread: int) -> sqlite3.Connection:
    """A connection is its thread's and its process's own: SQLite allows no other use.

    The journal is SQLite's first one: a write-ahead log does not work where machines share the folder over a network.
    """
    make_folder(folder)
    memory = sqlite3.connect(_place(folder), timeout=60, check_same_thread=False)
    memory.execute("PRAGMA synchronous=OFF")  # after a loss of power what it remembers is found out again
    memory.execute(TABLE)
    return memory
