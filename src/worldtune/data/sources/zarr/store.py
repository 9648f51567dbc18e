"""Storage of a Zarr group's parts: a folder or a zip file."""

import os
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from worldtune.core.strict_io import read_bytes
from worldtune.data.video.file_cache import file_state
from worldtune.errors import DataError, first_line

HINT = "Copy it again."
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, EOFError, OSError)
"""What `zipfile` raises for a damaged, encrypted or unusually packed file."""


@dataclass(frozen=True)
class Store:
    """A folder or a zip file of named parts."""

    root: Path

    @property
    def is_zip(self) -> bool:
        return not self.root.is_dir()

    def read(self, key: str, max_bytes: int) -> bytes:
        """Return the part's bytes. Raise DataError if it is missing, damaged, or has more than `max_bytes`."""
        where = f"{self.root}/{key}"
        if not self.is_zip:
            return read_bytes(self.root / key, max_bytes, DataError, HINT)
        try:
            with _zip_file(self.root).open(key) as part:
                data = part.read(max_bytes + 1)
        except KeyError as error:
            raise DataError("it is missing", where=where, hint=HINT) from error
        except ZIP_ERRORS as error:
            raise DataError(f"it cannot be decompressed: {first_line(error)}", where=where, hint=HINT) from error
        if len(data) > max_bytes:
            raise DataError(f"it decompresses to more than {max_bytes:,} bytes", where=where, hint=HINT)
        return data

    def has(self, key: str) -> bool:
        return key in _entries(self.root) if self.is_zip else (self.root / key).is_file()

    def sizes(self, name: str) -> dict[str, int]:
        """Return the stored bytes of each part of an array, by its key; `read` rejects a part that is not a file."""
        start = f"{name}/"
        if self.is_zip:
            return {key: part.compress_size for key, part in _entries(self.root).items() if key.startswith(start)}
        files = (Path(folder, file) for folder, _, inside in os.walk(self.root / name) for file in inside)
        return {file.relative_to(self.root).as_posix(): file.lstat().st_size for file in files}

    def names(self, group: str) -> list[str]:
        """Return the names of the arrays or folders directly in the group."""
        if not self.is_zip:
            folder = self.root / group
            return sorted(child.name for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []
        start = f"{group}/"
        inside = {key[len(start) :].split("/")[0] for key in _entries(self.root) if key.startswith(start)}
        return sorted(name for name in inside if name and self.array_file(f"{group}/{name}"))

    def array_file(self, name: str) -> str:
        """Return the key of an array's metadata, of format 2 or 3, or ""."""
        return next((key for key in (f"{name}/.zarray", f"{name}/zarr.json") if self.has(key)), "")

    def files(self, keys: Iterable[str]) -> list[Path]:
        """Return the files that contain these parts."""
        return [self.root] if self.is_zip else [self.root / key for key in keys]


def _zip_file(root: Path) -> zipfile.ZipFile:
    return _open_zip(root, file_state(root), os.getpid())


def _entries(root: Path) -> dict[str, zipfile.ZipInfo]:
    return _zip_file(root).NameToInfo


@lru_cache(maxsize=4)
def _open_zip(root: Path, state: str, process: int) -> zipfile.ZipFile:
    """Open a zip file for one process, since forked ones would share its position. Raise DataError if damaged."""
    try:
        archive = zipfile.ZipFile(root)
    except ZIP_ERRORS as error:
        what = f"the zip file cannot be read: {first_line(error)}"
        raise DataError(what, where=str(root), hint=HINT) from error
    size = root.stat().st_size
    if sum(entry.compress_size for entry in archive.infolist()) > size:
        archive.close()
        raise DataError("its parts claim more than the file holds", where=str(root), hint=HINT)
    return archive
