"""Files that are not simply there: empty, without a proper name, or links out of their dataset or to nothing."""

import os
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
    """What the ledger says of a file that lies elsewhere, or ""."""
    within, parent = _real(str(folder)), _real(str(file.parent))
    place = os.path.realpath(file) if file.is_symlink() else os.path.join(parent, file.name)
    return "" if place.startswith(within.rstrip("/") + "/") else "a link out of the folder"


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
