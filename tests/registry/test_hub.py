"""Out to the Hugging Face Hub as one commit, and in from a commit: from a Hub on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from worldtune.errors import RegistryError
from worldtune.registry.add import add
from worldtune.registry.approval import revoke
from worldtune.registry.facts import Published
from worldtune.registry.hub import pull, push
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .hub import Hub, serving
from .log_support import events_of


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


def test_a_release_goes_out_in_one_commit_and_comes_back_the_same(local: Team, hub: Hub) -> None:
    release = add(local.registry, local["sam"], NAME, local.another()).fact
    fact = push(local.registry, local["sam"], release.name, "team/pick").fact
    ((oid, files),) = hub.commits["team/pick"]
    assert (fact.where, fact.revision) == ("hf:team/pick", oid)
    assert sorted(files) == [
        "README.md", "adapter.json", "bom.cdx.json", "provenance.dsse.json", "pytorch_lora_weights.safetensors",
    ]  # fmt: skip
    back = pull(local.registry, local["sam"], "cell9/pick", f"team/pick@{oid}").fact
    assert (back.digest, back.origin) == (release.digest, f"hf:team/pick@{oid}")
    assert verify(local.registry).sound


def test_a_branch_is_no_commit(local: Team, hub: Hub) -> None:
    for source in ("team/pick", "team/pick@main", "team/pick@0123456", "pick@" + "0" * 40):
        with pytest.raises(RegistryError, match="names no commit"):
            pull(local.registry, local["sam"], NAME, source)


def test_what_the_hub_does_not_have_is_said(local: Team, hub: Hub) -> None:
    with pytest.raises(RegistryError, match="the Hub refuses"):
        pull(local.registry, local["sam"], NAME, "team/none@" + "0" * 40)


def test_code_in_a_repository_is_not_fetched_and_pickles_neither(local: Team, hub: Hub) -> None:
    release = add(local.registry, local["sam"], NAME, local.another()).fact
    push(local.registry, local["sam"], release.name, "team/pick")
    oid = hub.commit("team/pick", {"run.py": b"import os", "weights.bin": b"x"})
    assert pull(local.registry, local["sam"], "cell9/pick", f"team/pick@{oid}").fact.digest == release.digest


def test_other_weights_under_a_card_are_refused(local: Team, hub: Hub) -> None:
    release = add(local.registry, local["sam"], NAME, local.another()).fact
    push(local.registry, local["sam"], release.name, "team/pick")
    weights = hub.commits["team/pick"][-1][1]["pytorch_lora_weights.safetensors"]
    oid = hub.commit("team/pick", {"pytorch_lora_weights.safetensors": weights[:-1] + b"\x01"})
    with pytest.raises(Exception, match="the weights are not those of the card"):
        pull(local.registry, local["sam"], "cell9/pick", f"team/pick@{oid}")


def test_a_refused_commit_leaves_no_fact(local: Team, hub: Hub) -> None:
    release = add(local.registry, local["sam"], NAME, local.another()).fact
    hub.refuses = 403
    with pytest.raises(RegistryError, match="the Hub refuses"):
        push(local.registry, local["sam"], release.name, "team/pick")
    assert events_of(local.registry, Published) == []


def test_who_may_not_and_what_is_revoked_is_not_sent(local: Team, hub: Hub) -> None:
    release = add(local.registry, local["sam"], NAME, local.another()).fact
    with pytest.raises(RegistryError, match="eva is evaluator, and it takes submitter or admin"):
        push(local.registry, local["eva"], release.name, "team/pick")
    revoke(local.registry, local["bob"], release.name, "bad")
    with pytest.raises(RegistryError, match="is revoked"):
        push(local.registry, local["sam"], release.name, "team/pick")
    assert hub.commits == {}
