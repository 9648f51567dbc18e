"""Checks of paths: files that are missing, empty or without a proper name, and links that leave their dataset."""

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from worldtune.core.git_lfs import POINTER_MESSAGE, is_pointer


def displayable_name(name: str) -> str:
    """Return a file's name, with bytes that are not UTF-8 written as \\xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def unreadable_reason(file: Path) -> str:
    """Return why the file has nothing to read, or ""."""
    if not os.path.isfile(file):
        return "a broken link" if file.is_symlink() else "not a file"
    if displayable_name(file.name) != file.name:
        return "its name is not UTF-8"
    try:
        return "the file is empty" if not os.path.getsize(file) else POINTER_MESSAGE if is_pointer(file) else ""
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"


def link_note(file: Path, folder: Path) -> str:
    """Return the ledger's note for a video outside its dataset's folder, or ""."""
    return "a link out of the folder" if _lies_outside(file, folder) else ""


def links_note(files: Iterable[Path], folder: Path) -> str:
    """Return the ledger's note for a recording's other files that lie outside the folder, or ""."""
    outside = [displayable_name(file.name) for file in files if _lies_outside(file, folder)]
    return f"read through a link out of the folder: {', '.join(outside)}" if outside else ""


def _lies_outside(file: Path, folder: Path) -> bool:
    """Return whether the file exists but is really elsewhere; blobs of a snapshot in the Hub's cache are not."""
    parent = _real_path(str(file.parent))
    real_path = os.path.realpath(file) if file.is_symlink() else os.path.join(parent, file.name)
    return os.path.lexists(file) and not any(
        real_path.startswith(own_folder.rstrip("/") + "/") for own_folder in _own_folders(str(folder))
    )


@lru_cache(maxsize=256)
def _own_folders(folder: str) -> tuple[str, ...]:
    """Return the folder, and for a snapshot in the Hub's cache also its repository's blobs."""
    real = Path(_real_path(folder))
    return (str(real), str(real.parents[1] / "blobs")) if real.parent.name == "snapshots" else (str(real),)


@lru_cache(maxsize=4096)
def _real_path(folder: str) -> str:
    return os.path.realpath(folder)
