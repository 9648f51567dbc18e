"""A release is what it states: nobody lends one adapter's good evidence to the files of another."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from worldtune.adapters.card import CARD
from worldtune.adapters.folder import WEIGHTS
from worldtune.bench.registry_reports import report_of
from worldtune.errors import AdapterError, RegistryError, TamperError
from worldtune.registry.add import add, put
from worldtune.registry.approval import approve
from worldtune.registry.bundle import export
from worldtune.registry.evidence import attach
from worldtune.registry.facts import Moved, Released
from worldtune.registry.hub import push
from worldtune.registry.lineage import lineage
from worldtune.registry.manifest import manifest_of
from worldtune.registry.openssf import sign_release
from worldtune.registry.papers import papers_of
from worldtune.registry.promotion import BreakGlass, promote
from worldtune.registry.standing import policy_now
from worldtune.registry.stated import check_stated, verify_bytes
from worldtune.registry.use import use
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import rogue
from .prepared import released


def test_what_was_added_is_what_it_states(local: Team) -> None:
    release = released(local)
    with local.registry.view() as state:
        assert verify_bytes(local.registry.store, state, release).digest == release.digest


def lying(team: Team, **changed: Any) -> tuple[Released, Path]:
    """What sam's own program states of an adapter: the digest is its own, and what is `changed` is not true of it.

    A report of the adapter of which it is true comes with it.
    """
    source, evil = team.another(), team.another()
    good = add(team.registry, team["sam"], "bench/good", source).fact
    manifest = manifest_of(evil)
    put(team.registry, evil, manifest)
    its = {entry.name: entry.sha256 for entry in manifest.files}
    true = {"digest": manifest.digest, "size": manifest.size, "weights": its[WEIGHTS], "card": its[CARD]}
    lies = {name: getattr(good, name) if value is None else value for name, value in changed.items()}
    fact = good.model_copy(update={"adapter": NAME} | true | lies)
    rogue(team.registry, team["sam"], fact)
    return fact, report_of(source, team.folder / "report")


# None: what is true of the good one. Their weights are the same.
LIES: list[tuple[str, dict[str, Any]]] = [
    ("card", {"card": None}),
    ("weights", {"weights": "9" * 64}),
    ("base", {"base": "9" * 64}),
    ("base_name", {"base_name": "nvidia/Cosmos-Predict2.5-14B"}),
    ("size", {"size": 1}),
    ("card and size and base", {"card": None, "size": 1, "base": "9" * 64}),
    ("provenance", {}),  # that of the good one, too
]


@pytest.mark.parametrize(("what", "changed"), LIES)
def test_release_that_states_another_is_refused_everywhere(
    local: Team, what: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    release, report = lying(local, **changed)
    registry, name = local.registry, release.name
    acts: dict[str, Callable[[], object]] = {
        "evaluate": lambda: attach(registry, local["eva"], name, report),
        "approve": lambda: approve(registry, local["bob"], name, "production", "good"),
        "promote": lambda: promote(registry, local["sam"], name, "staging"),
        "break-glass": lambda: promote(
            registry, local["ann"], name, "production", glass=BreakGlass("x", timedelta(hours=1))
        ),
        "export": lambda: export(registry, name, tmp_path / "no.tar"),
        "papers": lambda: papers_of(registry, name),
        "use": lambda: use(name, pytest.fail, registry.folder),
        "sign": lambda: sign_release(registry, name, registry.folder / "keys" / "bob.pem", tmp_path / "no.sig"),
        "push": lambda: push(registry, local["sam"], name, "team/pick"),
    }
    for act in ("promote", "break-glass", "push") if what == "provenance" else acts:
        with pytest.raises(TamperError):
            acts[act]()
    assert not (tmp_path / "no.tar").exists()
    assert any(NAME in fault for fault in verify(registry).faults)


def test_channel_that_a_program_moved_to_it_is_not_used(local: Team) -> None:
    """A channel that asks for nothing lets it in by the rules, which know no files: whoever uses it finds out."""
    release, _ = lying(local, card=None)
    with local.registry.view() as state:
        policy = policy_now(state).digest
    move = {"channel": "staging", "generation": 1, "how": "promotion", "policy": policy}
    rogue(local.registry, local["sam"], Moved.model_validate(release.identity | move))
    with pytest.raises(TamperError, match="states another card than its files have"):
        use(f"{NAME}@staging", pytest.fail, local.registry.folder)


@pytest.mark.parametrize("blob", ["card", "weights", "provenance", "missing"])
def test_digest_that_is_of_no_manifest_is_refused(local: Team, blob: str) -> None:
    good = released(local)
    digest = "9" * 64 if blob == "missing" else getattr(good, blob)
    rogue(local.registry, local["sam"], good.model_copy(update={"number": 2, "digest": digest}))
    with pytest.raises(RegistryError):
        use(f"{NAME}@2", pytest.fail, local.registry.folder)
    with pytest.raises(RegistryError):
        promote(local.registry, local["sam"], f"{NAME}@2", "staging")
    assert not verify(local.registry).sound


@pytest.mark.parametrize("changed", [{"fps": 8.0}, {"format": 2}, {"digest": "0" * 64}])
def test_card_that_is_not_what_was_written_is_refused(local: Team, changed: dict[str, Any]) -> None:
    good, source = released(local), local.another()
    (source / CARD).write_text(json.dumps(json.loads((source / CARD).read_text()) | changed))
    manifest = manifest_of(source)
    put(local.registry, source, manifest)
    card = next(entry.sha256 for entry in manifest.files if entry.name == CARD)
    lies = {"number": 2, "digest": manifest.digest, "size": manifest.size, "card": card}
    release = good.model_copy(update=lies)
    with pytest.raises(TamperError, match="the card cannot be used: "):
        check_stated(local.registry.store, release)
    rogue(local.registry, local["sam"], release)
    with pytest.raises(TamperError, match="the card cannot be used: "):
        lineage(local.registry, release.name)
    with pytest.raises(AdapterError):
        add(local.registry, local["sam"], NAME, source)


@pytest.mark.parametrize("blob", ["weights", "provenance", "digest"])
def test_card_that_is_none_is_refused(local: Team, blob: str) -> None:
    good = released(local)
    lies = {"number": 2, "digest": "9" * 64, "card": getattr(good, blob)}
    rogue(local.registry, local["sam"], good.model_copy(update=lies))
    with pytest.raises(RegistryError):
        lineage(local.registry, f"{NAME}@2")
    with pytest.raises(RegistryError):
        check_stated(local.registry.store, good.model_copy(update=lies))
