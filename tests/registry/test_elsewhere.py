"""The whole life of a release with its bytes in an object store, that another program serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.servers import python, serving
from worldtune.errors import RegistryError, TamperError
from worldtune.registry.add import add
from worldtune.registry.bundle import export
from worldtune.registry.facts import Released
from worldtune.registry.keys import make_key
from worldtune.registry.promotion import promote
from worldtune.registry.registry import Registry, found_registry
from worldtune.registry.store import Store
from worldtune.registry.use import use
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import events_of

pytestmark = pytest.mark.skipif(python() is None, reason="WORLDTUNE_SERVERS names no Python with moto: see .ci/servers")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("moto"), "moto.server", "-H", "127.0.0.1") as url:
        yield url


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty one."""
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
    """Founded by ann, who may all but approve, its bytes in the bucket."""
    key = make_key(tmp_path / "ann.pem")
    registry = found_registry(tmp_path / "registry", "ann", key, database, bucket)
    yield Team(registry, {"ann": key}, tmp_path, adapter)
    registry.engine.dispose()


def test_a_release_is_kept_promoted_used_and_sent(site: Team, tmp_path: Path) -> None:
    registry: Registry = site.registry
    release = add(registry, site["ann"], NAME, site.another()).fact
    promote(registry, site["ann"], release.name, "staging")
    folder = use(f"{NAME}@staging", pytest.fail, registry.folder).path
    assert (folder / "adapter.json").stat().st_size > 0
    export(registry, release.name, tmp_path / "out.tar")
    found = verify(registry)
    assert (found.faults, found.unnamed) == ([], 0)
    assert not (registry.folder / "blobs").exists()


def test_bytes_that_were_changed_there_are_refused(site: Team) -> None:
    release = add(site.registry, site["ann"], NAME, site.another()).fact
    store = site.registry.store
    store.files.pipe_file(store.path(release.weights), b"x")
    store.files.invalidate_cache()
    with pytest.raises(TamperError, match="the bytes of pytorch_lora_weights"):
        promote(site.registry, site["ann"], release.name, "staging")
    store.files.rm_file(store.path(release.card))
    store.files.invalidate_cache()
    assert any("is missing" in fault for fault in verify(site.registry).faults)


def test_a_store_that_went_away_is_said_and_nothing_is_lost(
    site: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import s3fs

    release = add(site.registry, site["ann"], NAME, site.another()).fact
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    away = Store(site.registry.store.place)
    with pytest.raises(RegistryError, match="the store cannot be used") as error:
        away.read(release.digest)
    assert not isinstance(error.value, TamperError)
    assert [event.fact for event in events_of(site.registry, Released)] == [release]
