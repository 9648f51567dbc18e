"""Digests and atomic writes: no file or folder is ever half-written under its final name."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import enumerate as enumerate_threads
from threading import get_ident
from typing import Any

from worldtune.core.canonical_json import canonical_for_digest
from worldtune.errors import BusyError, UserError

CHUNK_BYTES = 1 << 20
LOCK_FILE = ".lock"
_SCRATCH = "worldtune-scratch"
_LEFTOVER = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)(?:-(?P<thread>\d+))?\.(?P<kind>partial|old)$")


def digest_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 as lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in chunks of 1 MiB."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def digest_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    return digest_bytes(canonical_for_digest(value))


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock `folder` against other processes inside the block.

    Raise BusyError if another process holds the lock, unless `wait`; UserError if the folder cannot be written, or its
    lock is not a regular file: then the folder may belong to another user.
    """
    make_folder(folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / LOCK_FILE, flags, 0o666)
    except OSError as error:
        what = f"the lock file cannot be opened: {error.strerror}"
        hint = "Remove it if no process uses the folder."
        raise UserError(what, where=str(folder / LOCK_FILE), hint=hint) from error
    with open(descriptor, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            hint = "Wait for it, or choose another folder."
            raise BusyError("another process is using this folder", where=str(folder), hint=hint) from error
        yield


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`: renamed to it if the block succeeds, removed if not.

    Raise UserError if the folder cannot be written.
    """
    make_folder(path.parent)
    _clean_up_leftovers(path)
    partial = _temporary_path(path, "partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder, which replaces `path` if the block succeeds.

    Raise UserError if the parent folder cannot be written.
    """
    path = path.absolute()
    make_folder(path.parent)
    _clean_up_leftovers(path)
    partial = _temporary_path(path, "partial")
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            old = _temporary_path(path, "old")
            path.replace(old)
            try:
                partial.replace(path)
            finally:
                if not path.exists():  # after Ctrl-C or an error, first restore the old folder
                    old.replace(path)
            _remove(old)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _temporary_path(path: Path, kind: str) -> Path:
    """Return a hidden name next to `path` that is unique to this thread, also among machines that share the folder."""
    return path.with_name(f".{path.name}.{_machine_id()}-{os.getpid()}-{get_ident()}.{kind}")


@cache
def _machine_id() -> str:
    """Return an id of this machine and container: process ids are unique only within one of them."""
    namespace = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    return digest_bytes(f"{socket.gethostname()} {namespace}".encode())[:8]


def is_leftover(name: str) -> bool:
    """Return whether this is the hidden name of an unfinished `atomic_file` or `atomic_folder`."""
    return bool(_LEFTOVER.match(name))


def _clean_up_leftovers(path: Path) -> None:
    """Remove the unfinished files of killed processes, and restore what they had set aside.

    Leftovers of other machines and containers stay, because their processes may still run.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        match = _LEFTOVER.match(leftover.name)
        if match is None or match["machine"] != _machine_id():
            continue
        pid, kind = int(match["pid"]), match["kind"]
        if _is_running_thread(int(match["thread"] or 0)) if pid == os.getpid() else _is_running_process(pid):
            continue
        if kind == "old" and not path.exists():
            leftover.replace(path)
        else:
            _remove(leftover)


def _remove(path: Path) -> None:
    """Remove a file or a folder; for a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_running_thread(thread: int) -> bool:
    """Return whether this is another running thread of this process."""
    return thread != get_ident() and thread in {running.ident for running in enumerate_threads()}


def _is_running_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder in TMPDIR that only this user can open, and remove it at the end.

    The folders of killed processes are removed first. A folder's owner holds a lock in it: if the lock is free, its
    process is gone, even if its process id is used again. Raise OSError if TMPDIR cannot be written.
    """
    parent = Path(tempfile.gettempdir())
    _remove_stale_scratch(parent)
    place, lock = _make_locked_scratch(parent)
    try:
        files = place / "files"
        files.mkdir()
        yield files
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def _make_locked_scratch(parent: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock. Retry if it is removed before it is locked."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}-{_machine_id()}-{os.getpid()}-", dir=parent))
        try:
            lock = _acquire_lock(place)
        except FileNotFoundError:
            continue
        if os.fstat(lock).st_nlink:
            return place, lock
        os.close(lock)


def _remove_stale_scratch(parent: Path) -> None:
    """Remove scratch folders of this user and machine whose lock is free. Follow no links.

    Skip folders that cannot be opened or removed.
    """
    for leftover in parent.glob(f"{_SCRATCH}-{_machine_id()}-*"):
        try:
            lock = _acquire_lock(leftover, fcntl.LOCK_NB)
        except OSError:  # in use, already removed, a link, or another user's
            continue
        shutil.rmtree(leftover, ignore_errors=True)
        os.close(lock)


def _acquire_lock(place: Path, flags: int = 0) -> int:
    """Return a descriptor that holds the lock in `place`. Raise OSError if that is not a folder of this user."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(place))
        lock = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(lock)
        raise
    return lock


def cache_folder() -> Path:
    """Return the user's cache folder, which may be deleted: `worldtune` in $XDG_CACHE_HOME (default ~/.cache)."""
    return _cache_in(os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME"))


@cache
def _cache_in(folder: str | None, home: str | None) -> Path:
    return (
        Path(folder or os.path.expanduser("~/.cache")) / "worldtune"
    )  # expanduser reads $HOME, so `home` is part of the cache key


def make_folder(path: Path) -> None:
    """Create `path` and its parents. Raise UserError if that fails, or the folder cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the folder: {error.strerror}",
            where=str(path),
            hint="Choose a folder you can write to.",
        ) from error
    if not os.access(path, os.W_OK):
        raise UserError("the folder cannot be written", where=str(path), hint="Choose a folder you can write to.")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
