"""Blobs by digest: written once, and read unchanged or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worldtune.core.files import digest_bytes
from worldtune.errors import RegistryError, TamperError
from worldtune.registry.store.blob_store import BlobStore
from worldtune.registry.store.manifest import FileEntry


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path / "store"))


def put(store: BlobStore, tmp_path: Path, content: bytes = b"bytes") -> FileEntry:
    source = tmp_path / "source"
    source.write_bytes(content)
    entry = FileEntry(name="a.json", size=len(content), sha256=digest_bytes(content))
    store.put(source, entry)
    return entry


def test_blob_round_trip(store: BlobStore, tmp_path: Path) -> None:
    entry = put(store, tmp_path)
    assert store.read(entry.sha256) == b"bytes"
    assert store.put_bytes(b"bytes") == entry.sha256
    store.check(entry)
    store.copy_to(entry, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"bytes"
    assert list(store.digests()) == [entry.sha256]


def test_file_changed_during_reading_is_not_stored(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"other")
    entry = FileEntry(name="a.json", size=5, sha256=digest_bytes(b"bytes"))
    with pytest.raises(RegistryError, match="source was changed while it was being read"):
        store.put(source, entry)
    assert list(store.digests()) == []


@pytest.mark.parametrize("damage", ["changed", "cut", "longer", "missing", "link", "swapped"])
def test_changed_bytes_are_rejected(store: BlobStore, tmp_path: Path, damage: str) -> None:
    entry = put(store, tmp_path)
    path = Path(store.path(entry.sha256))
    if damage == "link":
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
    elif damage == "missing":
        path.unlink()
    elif damage == "swapped":
        other = put(store, tmp_path, b"other")
        path.write_bytes(Path(store.path(other.sha256)).read_bytes())
    else:
        path.write_bytes({"changed": b"byteZ", "cut": b"byte", "longer": b"bytes!"}[damage])
    with pytest.raises(TamperError):
        store.check(entry)
    with pytest.raises(TamperError):
        store.read(entry.sha256)
    with pytest.raises(TamperError):
        store.copy_to(entry, tmp_path / "out")


def test_damaged_blob_is_repaired_by_storing_it_again(store: BlobStore, tmp_path: Path) -> None:
    entry = put(store, tmp_path)
    Path(store.path(entry.sha256)).write_bytes(b"byteZ")
    put(store, tmp_path)
    store.check(entry)


def test_missing_store_is_reported(store: BlobStore, tmp_path: Path) -> None:
    entry = put(store, tmp_path)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(RegistryError, match="the store cannot be used: No such file or directory") as error:
        store.read(entry.sha256)
    assert not isinstance(error.value, TamperError)
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    assert store.read(entry.sha256) == b"bytes"


def test_unknown_store_url_is_rejected() -> None:
    with pytest.raises(RegistryError, match="Protocol not known: nowhere"):
        BlobStore("nowhere://bucket")


def test_full_disk_is_reported_and_leaves_no_file(tmp_path: Path) -> None:
    """A file that may not grow fails like a file on a full disk."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from worldtune.registry.store.blob_store import BlobStore; from worldtune.errors import RegistryError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: BlobStore(sys.argv[1]).put_bytes(b'x' * 5000)\n"
        "except RegistryError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("the store cannot be used: File too large")
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_store_is_reported(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(RegistryError, match=r"cannot be written|Permission denied"):
        store.put_bytes(b"x")
