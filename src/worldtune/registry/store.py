"""The store of bytes: a file a digest, written once, never changed; on any file system that fsspec knows.

`blobs/sha256/ab/abcd…` below the store's place, a local folder or a URL as `s3://bucket/registry`. What is read is
hashed on the way: bytes that are others are refused, wherever they were changed.
"""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from worldtune.errors import RegistryError, TamperError, first_line
from worldtune.files import CHUNK, atomic_file, digest_bytes, is_leftover
from worldtune.registry.manifest import MIB, FileEntry, Manifest, parse_manifest

BLOBS = "blobs/sha256"
LARGEST_READ = 64 * MIB  # of what is read whole: manifests, cards, statements, results


class Store:
    """Blobs by their SHA-256. Raises RegistryError, from every method, when its place cannot be reached or is full."""

    def __init__(self, place: str) -> None:
        with _reached(place):
            try:
                self.files, root = fsspec.core.url_to_fs(place)
            except ImportError as error:
                mend = "Install what it names, as pip install s3fs."
                raise RegistryError(first_line(error), where=place, mend=mend) from error
            except ValueError as error:
                raise RegistryError(first_line(error), where=place, mend="As s3://bucket/registry.") from error
        self.place = place
        self.root = f"{root.rstrip('/')}/{BLOBS}"

    @property
    def is_local(self) -> bool:
        return isinstance(self.files, LocalFileSystem)

    def path(self, sha256: str) -> str:
        """Where the blob of that digest lies."""
        return f"{self.root}/{sha256[:2]}/{sha256}"

    def put(self, source: Path, entry: FileEntry) -> None:
        """Keep a file. Raises RegistryError when it is not what the entry says: it was changed meanwhile."""
        with _reached(self.place):
            if self._has(entry):
                return
            if not self.is_local:
                self.files.put_file(str(source), self.path(entry.sha256))
                self.check(entry)
                return
            with atomic_file(Path(self.path(entry.sha256))) as partial:
                with source.open("rb") as reading, partial.open("wb") as writing:
                    found = _copy(reading, writing, entry.size)
                    os.fsync(writing.fileno())
                if found != (entry.size, entry.sha256):
                    what = f"{source.name} was changed while it was read"
                    raise RegistryError(what, where=str(source.parent), mend="Try again when nobody writes to it.")
            _sync_folder(Path(self.path(entry.sha256)).parent)

    def put_bytes(self, content: bytes) -> str:
        """Keep some bytes, and return their digest."""
        sha256 = digest_bytes(content)
        with _reached(self.place):
            if self._has(FileEntry(name="bytes", size=len(content), sha256=sha256)):
                return sha256
            if not self.is_local:
                self.files.pipe_file(self.path(sha256), content)
                return sha256
            with atomic_file(Path(self.path(sha256))) as partial, partial.open("wb") as writing:
                writing.write(content)
                writing.flush()
                os.fsync(writing.fileno())
            _sync_folder(Path(self.path(sha256)).parent)
        return sha256

    def read(self, sha256: str) -> bytes:
        """A blob whole, for what is small. Raises TamperError when it is absent or its bytes are others."""
        with _reached(self.place), self._open(sha256, sha256) as file:
            content: bytes = file.read(LARGEST_READ + 1)
        if len(content) > LARGEST_READ:
            raise TamperError("a blob is larger than what it should be", where=self.path(sha256), mend=MEND)
        if digest_bytes(content) != sha256:
            raise TamperError("a blob's bytes are not those of its digest", where=self.path(sha256), mend=MEND)
        return content

    def manifest(self, sha256: str) -> Manifest:
        """The manifest of that digest."""
        return parse_manifest(self.read(sha256), self.path(sha256))

    def check(self, entry: FileEntry) -> None:
        """Raises TamperError when the blob of an entry is absent, a link, or its bytes or size are others."""
        with _reached(self.place), self._open(entry.sha256, entry.name) as file:
            if _copy(file, None, entry.size) != (entry.size, entry.sha256):
                raise TamperError(f"the bytes of {entry.name} are others", where=self.path(entry.sha256), mend=MEND)

    def check_all(self, manifest: Manifest) -> None:
        """Raises TamperError as `check` does, for any of a release's files."""
        for entry in manifest.files:
            self.check(entry)

    def copy_to(self, entry: FileEntry, target: Path) -> None:
        """Write a blob to a new file. Raises TamperError as `check` does."""
        with _reached(self.place), self._open(entry.sha256, entry.name) as file, target.open("xb") as writing:
            if _copy(file, writing, entry.size) != (entry.size, entry.sha256):
                raise TamperError(f"the bytes of {entry.name} are others", where=self.path(entry.sha256), mend=MEND)

    def digests(self) -> Iterator[str]:
        """Every blob that is there; what is unfinished is left out."""
        with _reached(self.place):
            if not self.files.exists(self.root):
                return
            for path in self.files.find(self.root):
                if not is_leftover(name := path.rpartition("/")[2]):
                    yield name

    def _has(self, entry: FileEntry) -> bool:
        """Is the blob there, of that size and those bytes? One that is damaged is written again."""
        path = self.path(entry.sha256)
        if not self.files.exists(path) or self.files.info(path)["size"] != entry.size:
            return False
        try:
            self.check(entry)
        except TamperError:
            return False
        return True

    @contextmanager
    def _open(self, sha256: str, name: str) -> Iterator[IO[bytes]]:
        path = self.path(sha256)
        try:
            with _open_plain(path, name) if self.is_local else self.files.open(path, "rb") as file:
                yield file
        except FileNotFoundError as error:
            with _reached(self.place):
                self.files.ls(self.place if self.is_local else self.root)  # has the whole place gone?
            raise TamperError(f"the blob of {name} is missing", where=path, mend=MEND) from error


MEND = "Bring it back from a copy of the store or an export; `worldtune registry verify` names all that is wrong."


def _open_plain(path: str, name: str) -> IO[bytes]:
    """A plain file, open: no link, and nothing that would let its reader wait for ever.

    Raises TamperError for anything else.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise TamperError(f"the blob of {name} is a link", where=path, mend=MEND) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise TamperError(f"the blob of {name} is no plain file", where=path, mend=MEND)
    return os.fdopen(handle, "rb")


def _copy(reading: IO[bytes], writing: IO[bytes] | None, expected: int) -> tuple[int, str]:
    """How many bytes went over, and their digest; no more than one above what is expected: a file may be endless."""
    sha, size = hashlib.sha256(), 0
    while chunk := reading.read(min(CHUNK, expected + 1 - size)):
        sha.update(chunk)
        size += len(chunk)
        if writing is not None:
            writing.write(chunk)
    return size, sha.hexdigest()


def _sync_folder(folder: Path) -> None:
    """The file's name is on the disk too, before the record speaks of it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _reached(place: str) -> Iterator[None]:
    """The network's and the disk's faults as one line."""
    try:
        yield
    except OSError as error:
        _unreached(error, place)
    except _network_faults() as error:
        _unreached(error, place)


def _network_faults() -> tuple[type[Exception], ...]:
    """botocore's faults are no OSError; it is there only if s3fs is in use."""
    botocore: Any = sys.modules.get("botocore.exceptions")
    return (botocore.BotoCoreError, botocore.ClientError) if botocore else ()


def _unreached(error: Exception, place: str) -> None:
    what = f"the store cannot be used: {getattr(error, 'strerror', None) or first_line(error)}"
    raise RegistryError(
        what, where=place, mend="Check its place, its space and your access; nothing was lost."
    ) from error
