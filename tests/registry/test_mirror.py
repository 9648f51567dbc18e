"""Releases and channels in a real MLflow server; what somebody changes there is found, and put right."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.servers import python, serving
from worldtune.errors import RegistryError
from worldtune.registry.add import add
from worldtune.registry.approval import revoke
from worldtune.registry.mirror import model_name, reconcile
from worldtune.registry.promotion import promote

from .conftest import NAME, Team

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
        add(local.registry, local["sam"], NAME, local.another())
    promote(local.registry, local["sam"], f"{NAME}@1", "staging")
    drift = reconcile(local.registry, address)
    assert [one.what for one in drift] == [
        "the model is missing", "release 1 is missing", "release 2 is missing", "@staging is not release 1",
    ]  # fmt: skip
    return local


def test_what_the_record_says_is_shown(mirrored: Team, client: Any, address: str) -> None:
    assert reconcile(mirrored.registry, address) == []
    shown = client.get_model_version_by_alias(MODEL, "staging")
    assert shown.tags["worldtune.release"] == "1"
    assert len(shown.tags["worldtune.digest"]) == 64
    assert len(client.search_model_versions(f"name='{MODEL}'")) == 2


def test_a_move_and_a_revocation_are_shown(mirrored: Team, client: Any, address: str) -> None:
    promote(mirrored.registry, mirrored["sam"], f"{NAME}@2", "staging")
    revoke(mirrored.registry, mirrored["bob"], f"{NAME}@1", "bad")
    assert {one.what for one in reconcile(mirrored.registry, address)} == {
        "release 1: worldtune.revoked is 'no', not 'yes'", "@staging is not release 2",
    }  # fmt: skip
    assert client.get_model_version_by_alias(MODEL, "staging").tags["worldtune.release"] == "2"


def test_what_somebody_changed_there_is_said_and_put_right(mirrored: Team, client: Any, address: str) -> None:
    version = client.get_model_version_by_alias(MODEL, "staging").version
    client.set_model_version_tag(MODEL, version, "worldtune.digest", "0" * 64)
    other = client.search_model_versions(f"name='{MODEL}'")
    client.set_registered_model_alias(MODEL, "staging", next(one.version for one in other if one.version != version))
    client.set_registered_model_alias(MODEL, "champion", version)
    client.create_model_version(MODEL, "worldtune://mine/1")
    expected = {"@staging is not release 1", "the alias champion is no channel"}
    checked = reconcile(mirrored.registry, address, mend=False)
    assert not any(one.mended for one in checked)
    assert expected < {one.what for one in checked}
    assert any(one.what.startswith("release 1: worldtune.digest is '0000") for one in checked)
    assert any("is of no release" in one.what for one in checked)
    reconcile(mirrored.registry, address)
    (left,) = reconcile(mirrored.registry, address)  # what is not ours is not taken away
    assert "is of no release" in left.what


def test_a_version_that_was_deleted_is_made_again(mirrored: Team, client: Any, address: str) -> None:
    client.delete_model_version(MODEL, client.get_model_version_by_alias(MODEL, "staging").version)
    assert {one.what for one in reconcile(mirrored.registry, address)} == {
        "release 1 is missing", "@staging is not release 1",
    }  # fmt: skip
    assert reconcile(mirrored.registry, address) == []


def test_a_server_that_does_not_answer_is_said(local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    add(local.registry, local["sam"], NAME, local.another())
    with pytest.raises(RegistryError, match="MLflow does not answer"):
        reconcile(local.registry, "http://127.0.0.1:9")


def test_names_are_of_mlflows_letters() -> None:
    assert model_name("a/b/c") == "worldtune.a_.b_.c"
    assert len({model_name(name) for name in ("a/b", "a.b", "a_b", "a_.b", "a_/b")}) == 5
