"""The manifest of a release: every file by name, size and digest. Its own digest identifies the release.

Only listed file types are allowed: tensors, text, a table. Nothing in them is executed; links, folders and other types
are rejected.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from worldtune.core import strict_io
from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import digest_bytes, digest_file
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import MIB
from worldtune.errors import RecipeError, RegistryError, first_line

FORMAT = 1
MAX_FILE_BYTES = {
    ".safetensors": 16384 * MIB,
    ".parquet": 256 * MIB,
    ".json": 16 * MIB,
    ".yaml": 4 * MIB,
    ".md": 4 * MIB,
    ".txt": 4 * MIB,
}
MAX_FILES = 64
FILE_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
DIGEST_PATTERN = r"^[0-9a-f]{64}$"
_HINT = "Remove the file, or export the adapter again."


class FileEntry(StrictModel):
    """One file; `size` is in bytes."""

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=DIGEST_PATTERN)


class Manifest(StrictModel):
    """The files of a release, sorted by name."""

    format: int = Field(FORMAT, ge=FORMAT, le=FORMAT)
    files: tuple[FileEntry, ...]

    @property
    def content(self) -> bytes:
        """The stored form: canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        return digest_bytes(self.content)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def parse_json(content: bytes | str, where: str) -> Any:
    """Return parsed JSON. Raise RegistryError if the strict reader rejects it."""
    return strict_io.parse_json(content, where, error=RegistryError, hint=_HINT)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Return the manifest in some bytes. Raise RegistryError if it is not one or lists files that are not allowed."""
    try:
        manifest = parse_model(Manifest, parse_json(content, where), where)
    except RecipeError as error:
        raise RegistryError(f"not a manifest: {error.what}", where=where, hint="Get the release again.") from error
    if manifest.content != content:
        raise RegistryError("the manifest is not in canonical form", where=where, hint="Get the release again.")
    check_listing([(file.name, file.size) for file in manifest.files], where)
    return manifest


def check_listing(files: Iterable[tuple[str, int]], where: str) -> None:
    """Raise RegistryError for names, types or sizes that a release may not have."""
    listed = list(files)
    names = [name for name, _ in listed]
    if len(listed) > MAX_FILES:
        what = f"there are {len(listed)} files; a release may have at most {MAX_FILES}"
        raise RegistryError(what, where=where, hint=_HINT)
    for name, size in listed:
        kind = Path(name).suffix
        if not FILE_NAME_PATTERN.fullmatch(name):
            raise RegistryError(f"the file name {name!r} is not allowed", where=where, hint=_HINT)
        if kind not in MAX_FILE_BYTES:
            what = f"the file type of {name} is not allowed"
            hint = f"Remove the file; allowed are {', '.join(MAX_FILE_BYTES)}."
            raise RegistryError(what, where=where, hint=hint)
        if size > MAX_FILE_BYTES[kind]:
            what = f"{name} has {size:,} bytes; a {kind} file may have at most {MAX_FILE_BYTES[kind]:,}"
            raise RegistryError(what, where=where, hint=_HINT)
    if len({name.lower() for name in names}) < len(names):
        raise RegistryError("two file names differ only in case", where=where, hint="Rename one of them.")
    if names != sorted(names):
        raise RegistryError("the files are not sorted by name", where=where, hint="Get the release again.")


def build_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder after checking the type and content of every file.

    Raise RegistryError for a link, a folder inside it, or a file whose content does not match its type.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise RegistryError("there is no such folder", where=str(folder), hint="Specify an adapter folder.")
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            raise RegistryError(f"{entry.name} is a link or not a regular file", where=str(folder), hint=_HINT)
    check_listing([(entry.name, entry.stat().st_size) for entry in entries], str(folder))
    files = []
    for entry in entries:
        path = Path(entry.path)
        check_content(path)
        files.append(FileEntry(name=entry.name, size=entry.stat().st_size, sha256=digest_file(path)))
    return Manifest(files=tuple(files))


def check_content(path: Path, name: str | None = None) -> None:
    """Raise RegistryError if a file's content does not match the type in its name (or in `name`)."""
    name = name or path.name
    from pyarrow import ArrowException  # imported here because reading the log does not need these
    from safetensors import SafetensorError

    try:
        _CONTENT_CHECKS[Path(name).suffix](path)
    except (SafetensorError, ArrowException, ValueError) as error:
        what = f"the content of {name} does not match its type: {first_line(error)}"
        raise RegistryError(what, where=str(path.parent), hint=_HINT) from error


def _check_tensors(path: Path) -> None:
    from safetensors import safe_open

    from worldtune.core.tensors.read import check_unique_names

    check_unique_names(path)
    with safe_open(path, framework="np") as file:
        file.keys()


def _check_table(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.read_metadata(path)


def _check_json(path: Path) -> None:
    strict_io.read_json(path, error=RegistryError, hint=_HINT)


def _check_text(path: Path) -> None:
    path.read_text(encoding="utf-8")


_CONTENT_CHECKS: dict[str, Callable[[Path], None]] = {
    ".safetensors": _check_tensors,
    ".parquet": _check_table,
    ".json": _check_json,
    ".yaml": _check_text,
    ".md": _check_text,
    ".txt": _check_text,
}
