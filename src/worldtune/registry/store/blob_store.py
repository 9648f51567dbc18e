"""The blob store: one file for each digest, written once and never changed, on any file system of fsspec.

Blobs are in `blobs/sha256/ab/abcd…` of the store's location, a local folder or a URL such as `s3://bucket/registry`.
Bytes are hashed as they are read, and changed bytes raise an error.
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

from worldtune.core.files import CHUNK_BYTES, atomic_file, digest_bytes, is_leftover
from worldtune.core.strict_io import MIB
from worldtune.errors import RegistryError, TamperError, first_line
from worldtune.registry.store.manifest import FileEntry, Manifest, parse_manifest

BLOBS = "blobs/sha256"
MAX_READ_BYTES = 64 * MIB  # for blobs read into memory: manifests, cards, statements, results


class BlobStore:
    """Blobs by SHA-256. Every method raises RegistryError if the store cannot be reached or is full."""

    def __init__(self, location: str) -> None:
        with _storage_errors(location):
            try:
                self.files, root = fsspec.core.url_to_fs(location)
            except ImportError as error:
                hint = "Install the named library, for instance pip install s3fs."
                raise RegistryError(first_line(error), where=location, hint=hint) from error
            except ValueError as error:
                hint = "Use a folder, or a URL such as s3://bucket/registry."
                raise RegistryError(first_line(error), where=location, hint=hint) from error
        self.location = location
        self.root = f"{root.rstrip('/')}/{BLOBS}"

    @property
    def is_local(self) -> bool:
        return isinstance(self.files, LocalFileSystem)

    def path(self, sha256: str) -> str:
        """Return the path of the blob with this digest."""
        return f"{self.root}/{sha256[:2]}/{sha256}"

    def put(self, source: Path, entry: FileEntry) -> None:
        """Store a file. Raise RegistryError if it does not match the entry because it was changed meanwhile."""
        with _storage_errors(self.location):
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
                    what = f"{source.name} was changed while it was being read"
                    raise RegistryError(what, where=str(source.parent), hint="Try again when nothing writes to it.")
            _sync_folder(Path(self.path(entry.sha256)).parent)

    def put_bytes(self, content: bytes) -> str:
        """Store some bytes and return their digest."""
        sha256 = digest_bytes(content)
        with _storage_errors(self.location):
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
        """Return the content of a small blob. Raise TamperError if it is missing or was changed."""
        with _storage_errors(self.location), self._open(sha256, sha256) as file:
            content: bytes = file.read(MAX_READ_BYTES + 1)
        if len(content) > MAX_READ_BYTES:
            raise TamperError("the blob is larger than it should be", where=self.path(sha256), hint=STORE_HINT)
        if digest_bytes(content) != sha256:
            raise TamperError("the blob's bytes do not match its digest", where=self.path(sha256), hint=STORE_HINT)
        return content

    def manifest(self, sha256: str) -> Manifest:
        """Return the manifest with this digest."""
        return parse_manifest(self.read(sha256), self.path(sha256))

    def check(self, entry: FileEntry) -> None:
        """Raise TamperError if the blob of an entry is missing, a link, or differs in bytes or size."""
        with _storage_errors(self.location), self._open(entry.sha256, entry.name) as file:
            if _copy(file, None, entry.size) != (entry.size, entry.sha256):
                raise TamperError(
                    f"the bytes of {entry.name} were changed", where=self.path(entry.sha256), hint=STORE_HINT
                )

    def check_all(self, manifest: Manifest) -> None:
        """Check every file of a release as `check` does."""
        for entry in manifest.files:
            self.check(entry)

    def copy_to(self, entry: FileEntry, target: Path) -> None:
        """Write a blob to a new file. Raise TamperError as `check` does."""
        with _storage_errors(self.location), self._open(entry.sha256, entry.name) as file, target.open("xb") as writing:
            if _copy(file, writing, entry.size) != (entry.size, entry.sha256):
                raise TamperError(
                    f"the bytes of {entry.name} were changed", where=self.path(entry.sha256), hint=STORE_HINT
                )

    def digests(self) -> Iterator[str]:
        """Yield the digest of every complete blob."""
        with _storage_errors(self.location):
            if not self.files.exists(self.root):
                return
            for path in self.files.find(self.root):
                if not is_leftover(name := path.rpartition("/")[2]):
                    yield name

    def _has(self, entry: FileEntry) -> bool:
        """Return whether the blob exists with these bytes; a damaged one is written again."""
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
            with _storage_errors(self.location):
                self.files.ls(self.location if self.is_local else self.root)  # an error if the whole store is missing
            raise TamperError(f"the blob of {name} is missing", where=path, hint=STORE_HINT) from error


STORE_HINT = "Restore it from a copy of the store or an export; `worldtune registry verify` lists every problem."


def _open_plain(path: str, name: str) -> IO[bytes]:
    """Open a regular file. Raise TamperError for a link or a special file, which could block its reader forever."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise TamperError(f"the blob of {name} is a link", where=path, hint=STORE_HINT) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise TamperError(f"the blob of {name} is not a regular file", where=path, hint=STORE_HINT)
    return os.fdopen(handle, "rb")


def _copy(reading: IO[bytes], writing: IO[bytes] | None, expected: int) -> tuple[int, str]:
    """Copy at most `expected` + 1 bytes, as a file may be endless; return the number of bytes and their digest."""
    sha, size = hashlib.sha256(), 0
    while chunk := reading.read(min(CHUNK_BYTES, expected + 1 - size)):
        sha.update(chunk)
        size += len(chunk)
        if writing is not None:
            writing.write(chunk)
    return size, sha.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Flush a folder, so that the file's name is on disk before an event refers to it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _storage_errors(location: str) -> Iterator[None]:
    """Turn network and disk errors into a one-line RegistryError."""
    try:
        yield
    except OSError as error:
        _raise_unreachable(error, location)
    except _network_errors() as error:
        _raise_unreachable(error, location)


def _network_errors() -> tuple[type[Exception], ...]:
    """Return botocore's error classes, which are not OSErrors; botocore is loaded only if s3fs is in use."""
    botocore: Any = sys.modules.get("botocore.exceptions")
    return (botocore.BotoCoreError, botocore.ClientError) if botocore else ()


def _raise_unreachable(error: Exception, location: str) -> None:
    what = f"the store cannot be used: {getattr(error, 'strerror', None) or first_line(error)}"
    raise RegistryError(
        what, where=location, hint="Check its location, free space and your access; nothing was lost."
    ) from error
