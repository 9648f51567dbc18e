"""Digests and atomic writes: nothing of ours is ever half-written under its final name."""

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

from worldtune.errors import BusyError, UserError

CHUNK = 1 << 20
LOCK = ".lock"
_SCRATCH = "worldtune-scratch"
_LEFTOVER = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)(?:-(?P<thread>\d+))?\.(?P<kind>partial|old)$")


def digest_bytes(data: bytes | memoryview) -> str:
    """SHA-256 as lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in chunks of 1 MiB."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Nobody else is at work in `folder` meanwhile. Raises BusyError when somebody is, unless it is to `wait`;
    UserError when it cannot be written, or its lock is no file: what is in the folder may be somebody else's."""
    make_folder(folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / LOCK, flags, 0o666)
    except OSError as error:
        what = f"its lock cannot be opened: {error.strerror}"
        raise UserError(what, where=str(folder / LOCK), mend="Remove it, if no process is at work there.") from error
    with open(descriptor, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise BusyError(
                "another process is at work in this folder", where=str(folder), mend="Wait for it, or choose another."
            ) from error
        yield


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, removed when not.

    Raises UserError when the folder cannot be written.
    """
    make_folder(path.parent)
    _tidy(path)
    partial = _beside(path, "partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder renamed to `path` when the block ends well; an older `path` is replaced.

    Raises UserError when the parent folder cannot be written.
    """
    path = path.absolute()
    make_folder(path.parent)
    _tidy(path)
    partial = _beside(path, "partial")
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            old = _beside(path, "old")
            path.replace(old)
            try:
                partial.replace(path)
            finally:
                if not path.exists():  # Ctrl-C or an error came between: the old one is back before anything else
                    old.replace(path)
            _remove(old)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _beside(path: Path, kind: str) -> Path:
    """A hidden name beside `path` that is this thread's own, on whatever machine the folder is shared with."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{get_ident()}.{kind}")


@cache
def _machine() -> str:
    """Tells machines apart, and containers of one machine: process numbers mean something in one of them only."""
    namespace = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    return digest_bytes(f"{socket.gethostname()} {namespace}".encode())[:8]


def is_leftover(name: str) -> bool:
    """Is this the hidden name of something unfinished, by `atomic_file` or `atomic_folder`?"""
    return bool(_LEFTOVER.match(name))


def _tidy(path: Path) -> None:
    """After a process that was killed: what it had not finished goes, what it had set aside comes back.

    What a process of another machine or container left stays: whether that process lives cannot be known here.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        match = _LEFTOVER.match(left.name)
        if match is None or match["machine"] != _machine():
            continue
        pid, kind = int(match["pid"]), match["kind"]
        if _at_work(int(match["thread"] or 0)) if pid == os.getpid() else _alive(pid):
            continue
        if kind == "old" and not path.exists():
            left.replace(path)
        else:
            _remove(left)


def _remove(path: Path) -> None:
    """Remove a file or a folder; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _at_work(thread: int) -> bool:
    """Is it another thread of this process, and has not ended?"""
    return thread != get_ident() and thread in {each.ident for each in enumerate_threads()}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder in TMPDIR that only this user can open, removed when the block ends.

    What a killed process left there goes first. A folder's owner holds a lock in it, so that a lock which can be taken
    is of a process that is gone, whoever has its number now. Raises OSError when TMPDIR cannot be written.
    """
    parent = Path(tempfile.gettempdir())
    _sweep(parent)
    place, lock = _locked_scratch(parent)
    try:
        files = place / "files"
        files.mkdir()
        yield files
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def _locked_scratch(parent: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock. One that is swept before it is locked is made again."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}-{_machine()}-{os.getpid()}-", dir=parent))
        try:
            lock = _take_lock(place)
        except FileNotFoundError:
            continue
        if os.fstat(lock).st_nlink:
            return place, lock
        os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove scratch folders of this user and machine whose lock can be taken. Follows no link.

    What cannot be opened or removed stays.
    """
    for left in parent.glob(f"{_SCRATCH}-{_machine()}-*"):
        try:
            lock = _take_lock(left, fcntl.LOCK_NB)
        except OSError:  # in use, gone by now, a link, somebody else's
            continue
        shutil.rmtree(left, ignore_errors=True)
        os.close(lock)


def _take_lock(place: Path, flags: int = 0) -> int:
    """A descriptor that holds the lock in `place`. Raises OSError when that is no folder of this user's."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(place))
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(lock)
        raise
    return lock


def cache_folder() -> Path:
    """What can be made again, shared by all runs of a user: `worldtune` in $XDG_CACHE_HOME (default ~/.cache)."""
    return _cache_in(os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME"))


@cache
def _cache_in(folder: str | None, home: str | None) -> Path:
    return Path(folder or os.path.expanduser("~/.cache")) / "worldtune"  # which asks for `home`


def make_folder(path: Path) -> None:
    """Create `path` and its parents. Raises UserError when that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the folder: {error.strerror}",
            where=str(path),
            mend="Choose a folder you can write to.",
        ) from error
    if not os.access(path, os.W_OK):
        raise UserError("the folder cannot be written", where=str(path), mend="Choose a folder you can write to.")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
