"""The life of a release with its bytes in an object store that another program serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.servers import python, serving
from worldtune.errors import RegistryError, TamperError
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.governance.promotion import promote
from worldtune.registry.registry import Registry, create_registry
from worldtune.registry.releases.add import add_release
from worldtune.registry.releases.checkout import resolve_adapter
from worldtune.registry.signing.keys import generate_key
from worldtune.registry.store.blob_store import BlobStore
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import list_events

pytestmark = pytest.mark.skipif(python() is None, reason="WORLDTUNE_SERVERS names no Python with moto: see .ci/servers")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("moto"), "moto.server", "-H", "127.0.0.1") as url:
        yield url


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket."""
    import s3fs

    for name, value in (
        ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_ENDPOINT_URL", address),
        ("AWS_DEFAULT_REGION", "us-east-1"), ("NO_PROXY", "127.0.0.1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    number = len(files.ls(""))
    files.mkdir(f"adapters-{number}")
    return f"s3://adapters-{number}/registry"


@pytest.fixture
def site(bucket: str, database: str, tmp_path: Path, adapter: Path) -> Iterator[Team]:
    """A registry created by ann, with its bytes in the bucket."""
    key = generate_key(tmp_path / "ann.pem")
    registry = create_registry(tmp_path / "registry", "ann", key, database, bucket)
    yield Team(registry, {"ann": key}, tmp_path, adapter)
    registry.engine.dispose()


def test_release_life_cycle_in_an_object_store(site: Team, tmp_path: Path) -> None:
    registry: Registry = site.registry
    source = site.another()
    release = add_release(registry, site["ann"], NAME, source).fact
    promote(registry, site["ann"], release.name, "staging")
    folder = resolve_adapter(f"{NAME}@staging", pytest.fail, registry.folder).path
    assert (folder / "adapter.json").read_bytes() == (source / "adapter.json").read_bytes()
    export_release(registry, release.name, tmp_path / "out.tar")
    found = verify(registry)
    assert (found.faults, found.unreferenced) == ([], 0)
    assert not (registry.folder / "blobs").exists()


def test_changed_object_store_bytes_are_rejected(site: Team) -> None:
    release = add_release(site.registry, site["ann"], NAME, site.another()).fact
    store = site.registry.store
    store.files.pipe_file(store.path(release.weights), b"x")
    store.files.invalidate_cache()
    with pytest.raises(TamperError, match="the bytes of pytorch_lora_weights"):
        promote(site.registry, site["ann"], release.name, "staging")
    store.files.rm_file(store.path(release.card))
    store.files.invalidate_cache()
    assert any("is missing" in fault for fault in verify(site.registry).faults)


def test_unreachable_object_store_is_reported(site: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import s3fs

    release = add_release(site.registry, site["ann"], NAME, site.another()).fact
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    away = BlobStore(site.registry.store.location)
    with pytest.raises(RegistryError, match="the store cannot be used") as error:
        away.read(release.digest)
    assert not isinstance(error.value, TamperError)
    assert [event.fact for event in list_events(site.registry, ReleaseAdded)] == [release]
