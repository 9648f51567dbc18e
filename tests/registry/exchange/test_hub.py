"""Push to and pull from a local Hugging Face Hub, by commit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from worldtune.errors import RegistryError
from worldtune.registry.events.events import ReleasePublished
from worldtune.registry.exchange.hub import pull_release, push_release
from worldtune.registry.governance.approval import revoke_release
from worldtune.registry.releases.add import add_release
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..hub import Hub, serving
from ..log_support import list_events


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving() as hub:
        for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_HOME"):
            if hasattr(constants, name):
                monkeypatch.setattr(constants, name, hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub


def test_push_and_pull_round_trip(local: Team, hub: Hub) -> None:
    release = add_release(local.registry, local["sam"], NAME, local.another()).fact
    fact = push_release(local.registry, local["sam"], release.name, "team/pick").fact
    ((oid, files),) = hub.commits["team/pick"]
    assert (fact.location, fact.revision) == ("hf:team/pick", oid)
    assert sorted(files) == [
        "README.md", "adapter.json", "bom.cdx.json", "provenance.dsse.json", "pytorch_lora_weights.safetensors",
    ]  # fmt: skip
    back = pull_release(local.registry, local["sam"], "cell9/pick", f"team/pick@{oid}").fact
    assert (back.digest, back.origin) == (release.digest, f"hf:team/pick@{oid}")
    assert verify(local.registry).is_valid


def test_pull_from_a_branch_is_rejected(local: Team, hub: Hub) -> None:
    for source in ("team/pick", "team/pick@main", "team/pick@0123456", "pick@" + "0" * 40):
        with pytest.raises(RegistryError, match="names no commit"):
            pull_release(local.registry, local["sam"], NAME, source)


def test_missing_hub_commit_is_reported(local: Team, hub: Hub) -> None:
    with pytest.raises(RegistryError, match="Hugging Face Hub error"):
        pull_release(local.registry, local["sam"], NAME, "team/none@" + "0" * 40)


def test_code_and_pickles_are_not_downloaded(local: Team, hub: Hub) -> None:
    release = add_release(local.registry, local["sam"], NAME, local.another()).fact
    push_release(local.registry, local["sam"], release.name, "team/pick")
    oid = hub.commit("team/pick", {"run.py": b"import os", "weights.bin": b"x"})
    assert pull_release(local.registry, local["sam"], "cell9/pick", f"team/pick@{oid}").fact.digest == release.digest


def test_pulled_weights_must_match_the_card(local: Team, hub: Hub) -> None:
    release = add_release(local.registry, local["sam"], NAME, local.another()).fact
    push_release(local.registry, local["sam"], release.name, "team/pick")
    weights = hub.commits["team/pick"][-1][1]["pytorch_lora_weights.safetensors"]
    oid = hub.commit("team/pick", {"pytorch_lora_weights.safetensors": weights[:-1] + b"\x01"})
    with pytest.raises(Exception, match="the weights do not match the card"):
        pull_release(local.registry, local["sam"], "cell9/pick", f"team/pick@{oid}")


def test_rejected_commit_is_not_recorded(local: Team, hub: Hub) -> None:
    release = add_release(local.registry, local["sam"], NAME, local.another()).fact
    hub.refuses = 403
    with pytest.raises(RegistryError, match="Hugging Face Hub error"):
        push_release(local.registry, local["sam"], release.name, "team/pick")
    assert list_events(local.registry, ReleasePublished) == []


def test_push_without_permission_or_of_a_revoked_release_is_rejected(local: Team, hub: Hub) -> None:
    release = add_release(local.registry, local["sam"], NAME, local.another()).fact
    with pytest.raises(RegistryError, match="eva has the role evaluator; this needs submitter or admin"):
        push_release(local.registry, local["eva"], release.name, "team/pick")
    revoke_release(local.registry, local["bob"], release.name, "bad")
    with pytest.raises(RegistryError, match="is revoked"):
        push_release(local.registry, local["sam"], release.name, "team/pick")
    assert hub.commits == {}
