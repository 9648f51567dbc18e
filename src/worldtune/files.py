"""Digests and atomic writes: nothing of ours is ever half-written under its final name."""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worldtune.errors import UserError

CHUNK = 1 << 20


def digest_bytes(data: bytes) -> str:
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
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, removed when not.

    Raises UserError when the folder cannot be written.
    """
    make_folder(path.parent)
    _tidy(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.replace(old)
            try:
                partial.replace(path)
            finally:
                if not path.exists():  # Ctrl-C or an error came between: the old one is back before anything else
                    old.replace(path)
            shutil.rmtree(old)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _tidy(path: Path) -> None:
    """After a process that was killed: what it had not finished goes, what it had set aside comes back."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        *_, pid, kind = left.name.split(".")
        if kind not in ("partial", "old") or not pid.isdigit() or (int(pid) != os.getpid() and _alive(int(pid))):
            continue
        if kind == "old" and not path.exists():
            left.replace(path)
        elif left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


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
