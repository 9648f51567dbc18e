"""Releases and channels in a real MLflow server; changes made there are found and fixed."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.servers import python, serving
from worldtune.errors import RegistryError
from worldtune.registry.exchange.mlflow_mirror import model_name, reconcile
from worldtune.registry.governance.approval import revoke_release
from worldtune.registry.governance.promotion import promote
from worldtune.registry.releases.add import add_release

from ..conftest import NAME, Team

pytestmark = pytest.mark.skipif(python() is None, reason="WORLDTUNE_SERVERS is not set: see .ci/servers")
mlflow: Any = pytest.importorskip("mlflow")
MODEL = model_name(NAME)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    store = (
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    )
    with serving(folder, "mlflow", "server", "--host", "127.0.0.1", "--workers", "1", *store, health="/health") as url:
        yield url


@pytest.fixture
def client(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
    yield made
    for model in made.search_registered_models():
        made.delete_registered_model(model.name)


@pytest.fixture
def mirrored(local: Team, client: Any, address: str) -> Team:
    for _ in range(2):
        add_release(local.registry, local["sam"], NAME, local.another())
    promote(local.registry, local["sam"], f"{NAME}@1", "staging")
    drift = reconcile(local.registry, address)
    assert [one.what for one in drift] == [
        "the model is missing", "release 1 is missing", "release 2 is missing", "@staging does not point to release 1",
    ]  # fmt: skip
    return local


def test_mirror_shows_releases_and_channels(mirrored: Team, client: Any, address: str) -> None:
    assert reconcile(mirrored.registry, address) == []
    shown = client.get_model_version_by_alias(MODEL, "staging")
    assert shown.tags["worldtune.release"] == "1"
    assert len(shown.tags["worldtune.digest"]) == 64
    assert len(client.search_model_versions(f"name='{MODEL}'")) == 2


def test_promotion_and_revocation_are_mirrored(mirrored: Team, client: Any, address: str) -> None:
    promote(mirrored.registry, mirrored["sam"], f"{NAME}@2", "staging")
    revoke_release(mirrored.registry, mirrored["bob"], f"{NAME}@1", "bad")
    assert {one.what for one in reconcile(mirrored.registry, address)} == {
        "release 1: worldtune.revoked is 'no', not 'yes'", "@staging does not point to release 2",
    }  # fmt: skip
    assert client.get_model_version_by_alias(MODEL, "staging").tags["worldtune.release"] == "2"


def test_changes_in_mlflow_are_reported_and_fixed(mirrored: Team, client: Any, address: str) -> None:
    version = client.get_model_version_by_alias(MODEL, "staging").version
    client.set_model_version_tag(MODEL, version, "worldtune.digest", "0" * 64)
    other = client.search_model_versions(f"name='{MODEL}'")
    client.set_registered_model_alias(MODEL, "staging", next(one.version for one in other if one.version != version))
    client.set_registered_model_alias(MODEL, "champion", version)
    client.create_model_version(MODEL, "worldtune://mine/1")
    expected = {"@staging does not point to release 1", "the alias champion is not a channel"}
    checked = reconcile(mirrored.registry, address, fix=False)
    assert not any(one.fixed for one in checked)
    assert expected < {one.what for one in checked}
    assert any(one.what.startswith("release 1: worldtune.digest is '0000") for one in checked)
    assert any("belongs to no release" in one.what for one in checked)
    reconcile(mirrored.registry, address)
    (left,) = reconcile(mirrored.registry, address)  # a version that is not ours is not removed
    assert "belongs to no release" in left.what


def test_deleted_mlflow_version_is_restored(mirrored: Team, client: Any, address: str) -> None:
    client.delete_model_version(MODEL, client.get_model_version_by_alias(MODEL, "staging").version)
    assert {one.what for one in reconcile(mirrored.registry, address)} == {
        "release 1 is missing", "@staging does not point to release 1",
    }  # fmt: skip
    assert reconcile(mirrored.registry, address) == []


def test_unreachable_mlflow_server_is_reported(local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    add_release(local.registry, local["sam"], NAME, local.another())
    with pytest.raises(RegistryError, match="MLflow does not answer"):
        reconcile(local.registry, "http://127.0.0.1:9")


def test_model_names_use_allowed_characters() -> None:
    assert model_name("a/b/c") == "worldtune.a_.b_.c"
    assert len({model_name(name) for name in ("a/b", "a.b", "a_b", "a_.b", "a_/b")}) == 5
