"""Files that are not simply there: empty, without a proper name, or links out of their dataset or to nothing."""

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def as_text(name: str) -> str:
    """A file's name, where what is no UTF-8 in it is written as \\xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def why_unreadable(file: Path) -> str:
    """Why there is nothing to read in it, or ""."""
    if not os.path.isfile(file):
        return "a link to nothing" if file.is_symlink() else "not a file"
    if as_text(file.name) != file.name:
        return "its name is not UTF-8"
    return "" if os.path.getsize(file) else "the file is empty"


def note_of_link(file: Path, folder: Path) -> str:
    """What the ledger says of a film that lies outside of its dataset's folder, or ""."""
    return "a link out of the folder" if _lies_outside(file, folder) else ""


def note_of_links(files: Iterable[Path], folder: Path) -> str:
    """What the ledger says of what else a recording is read from, the files that lie outside of the folder, or ""."""
    outside = [as_text(file.name) for file in files if _lies_outside(file, folder)]
    return f"read through a link out of the folder: {', '.join(outside)}" if outside else ""


def _lies_outside(file: Path, folder: Path) -> bool:
    """Is the file there, and in truth elsewhere? The blobs that a snapshot in the Hub's cache links to are its own."""
    parent = _real(str(file.parent))
    place = os.path.realpath(file) if file.is_symlink() else os.path.join(parent, file.name)
    return os.path.lexists(file) and not any(place.startswith(own.rstrip("/") + "/") for own in _own(str(folder)))


@lru_cache(maxsize=256)
def _own(folder: str) -> tuple[str, ...]:
    """The folder, and of a snapshot in the Hub's cache its repository's blobs."""
    real = Path(_real(folder))
    return (str(real), str(real.parents[1] / "blobs")) if real.parent.name == "snapshots" else (str(real),)


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
