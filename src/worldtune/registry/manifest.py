"""What a release consists of: every file by name, size and digest. Its own digest is the release's identity.

Kinds of files are listed: tensors, text, a table. Nothing in them is executed, and no link, folder or unlisted kind
is taken.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from worldtune.core import strict_io
from worldtune.errors import RecipeError, RegistryError, first_line
from worldtune.files import digest_bytes, digest_file
from worldtune.strict import Strict, parse

MIB = 1 << 20
LARGEST = {
    ".safetensors": 16384 * MIB,
    ".parquet": 256 * MIB,
    ".json": 16 * MIB,
    ".yaml": 4 * MIB,
    ".md": 4 * MIB,
    ".txt": 4 * MIB,
}
MOST_FILES = 64
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
DIGEST = r"^[0-9a-f]{64}$"
_MEND = "Take it away, or make the adapter anew."


class FileEntry(Strict):
    """One file; sizes in bytes."""

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=DIGEST)


class Manifest(Strict):
    """Files in the order of their names."""

    format: int = Field(1, ge=1, le=1)
    files: tuple[FileEntry, ...]

    @property
    def content(self) -> bytes:
        """As it is stored: canonical JSON."""
        return canonical(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        return digest_bytes(self.content)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces. Raises ValueError for numbers that are none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_json(content: bytes | str, where: str) -> Any:
    """Raises RegistryError for what is no JSON, or what the strict reader refuses."""
    return strict_io.parse_json(content, where, error=RegistryError, mend=_MEND)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Raises RegistryError for what is none, or lists what no release may hold."""
    try:
        manifest = parse(Manifest, parse_json(content, where), where)
    except RecipeError as error:
        raise RegistryError(f"no manifest: {error.what}", where=where, mend="Take the release anew.") from error
    if manifest.content != content:
        raise RegistryError("the manifest is not in its canonical form", where=where, mend="Take the release anew.")
    check_listing([(file.name, file.size) for file in manifest.files], where)
    return manifest


def check_listing(files: Iterable[tuple[str, int]], where: str) -> None:
    """Raises RegistryError for names and sizes that no release may hold."""
    listed = list(files)
    names = [name for name, _ in listed]
    if len(listed) > MOST_FILES:
        what = f"{len(listed)} files, more than the {MOST_FILES} a release may have"
        raise RegistryError(what, where=where, mend=_MEND)
    for name, size in listed:
        kind = Path(name).suffix
        if not FILE_NAME.fullmatch(name):
            raise RegistryError(f"{name!r} is no name of a file that is taken", where=where, mend=_MEND)
        if kind not in LARGEST:
            what = f"{name} is of a kind that is not taken"
            raise RegistryError(what, where=where, mend=f"Taken are {', '.join(LARGEST)}.")
        if size > LARGEST[kind]:
            what = f"{name} has {size:,} bytes, more than the {LARGEST[kind]:,} that {kind} may have"
            raise RegistryError(what, where=where, mend=_MEND)
    if len({name.lower() for name in names}) < len(names):
        raise RegistryError("two names differ in capital letters only", where=where, mend="Rename one.")
    if names != sorted(names):
        raise RegistryError("the files are not in the order of their names", where=where, mend="Take it anew.")


def manifest_of(folder: Path) -> Manifest:
    """Every file of a folder, whole and of a kind that is taken, its content looked into.

    Raises RegistryError for a link, a folder in it, or a file that is not what its name says.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise RegistryError("there is no such folder", where=str(folder), mend="Name an adapter's folder.")
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            raise RegistryError(f"{entry.name} is a link or no plain file", where=str(folder), mend=_MEND)
    check_listing([(entry.name, entry.stat().st_size) for entry in entries], str(folder))
    files = []
    for entry in entries:
        path = Path(entry.path)
        check_content(path)
        files.append(FileEntry(name=entry.name, size=entry.stat().st_size, sha256=digest_file(path)))
    return Manifest(files=tuple(files))


def check_content(path: Path, name: str | None = None) -> None:
    """Raises RegistryError when a file is not what its name (or `name`) says."""
    name = name or path.name
    from pyarrow import ArrowException  # whoever only looks at the record does not wait for these
    from safetensors import SafetensorError

    try:
        _CONTENT[Path(name).suffix](path)
    except (SafetensorError, ArrowException, ValueError) as error:
        what = f"{name} is not what its name says: {first_line(error)}"
        raise RegistryError(what, where=str(path.parent), mend=_MEND) from error


def _check_tensors(path: Path) -> None:
    from safetensors import safe_open

    from worldtune.tensor_files import refuse_twice

    refuse_twice(path)
    with safe_open(path, framework="np") as file:
        file.keys()


def _check_table(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.read_metadata(path)


def _check_json(path: Path) -> None:
    parse_json(path.read_bytes(), str(path))


def _check_text(path: Path) -> None:
    path.read_text(encoding="utf-8")


_CONTENT: dict[str, Callable[[Path], None]] = {
    ".safetensors": _check_tensors,
    ".parquet": _check_table,
    ".json": _check_json,
    ".yaml": _check_text,
    ".md": _check_text,
    ".txt": _check_text,
}
