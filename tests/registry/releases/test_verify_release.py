"""A release must match its statement: one adapter's evidence cannot be used for another's files."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.registry.reports import write_report_of
from worldtune.adapters.card import CARD
from worldtune.adapters.folder import WEIGHTS
from worldtune.errors import AdapterError, RegistryError, TamperError
from worldtune.registry.events.events import ChannelUpdated, ReleaseAdded
from worldtune.registry.exchange.hub import push_release
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.exchange.openssf import sign_release
from worldtune.registry.exchange.release_documents import build_documents
from worldtune.registry.governance.approval import approve
from worldtune.registry.governance.evidence import attach_evaluation
from worldtune.registry.governance.promotion import BreakGlass, promote
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.releases.add import add_release, store_files
from worldtune.registry.releases.checkout import resolve_adapter
from worldtune.registry.releases.lineage import build_lineage
from worldtune.registry.releases.verify_release import check_release_files, verify_release
from worldtune.registry.store.manifest import build_manifest
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import append_unchecked
from ..prepared import make_release


def test_added_release_matches_its_statement(local: Team) -> None:
    release = make_release(local)
    with local.registry.view() as state:
        assert verify_release(local.registry.store, state, release).digest == release.digest


def lying(team: Team, **changed: Any) -> tuple[ReleaseAdded, Path]:
    """Append a release of other files with the good adapter's statement, as sam's own program can.

    `changed` replaces fields of the statement; None takes the good adapter's value. Return the statement, and the
    report of the good adapter.
    """
    source, evil = team.another(), team.another()
    good = add_release(team.registry, team["sam"], "bench/good", source).fact
    manifest = build_manifest(evil)
    store_files(team.registry, evil, manifest)
    its = {entry.name: entry.sha256 for entry in manifest.files}
    true = {"digest": manifest.digest, "size": manifest.size, "weights": its[WEIGHTS], "card": its[CARD]}
    lies = {name: getattr(good, name) if value is None else value for name, value in changed.items()}
    fact = good.model_copy(update={"adapter": NAME} | true | lies)
    append_unchecked(team.registry, team["sam"], fact)
    return fact, write_report_of(source, team.folder / "report")


# None stands for the good adapter's value. The weights of both are the same.
LIES: list[tuple[str, dict[str, Any]]] = [
    ("card", {"card": None}),
    ("weights", {"weights": "9" * 64}),
    ("base", {"base": "9" * 64}),
    ("base_name", {"base_name": "nvidia/Cosmos-Predict2.5-14B"}),
    ("size", {"size": 1}),
    ("card and size and base", {"card": None, "size": 1, "base": "9" * 64}),
    ("provenance", {}),  # also the good adapter's
]


@pytest.mark.parametrize(("what", "changed"), LIES)
def test_release_with_a_false_statement_is_rejected(
    local: Team, what: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    release, report = lying(local, **changed)
    registry, name = local.registry, release.name
    acts: dict[str, Callable[[], object]] = {
        "evaluate": lambda: attach_evaluation(registry, local["eva"], name, report),
        "approve": lambda: approve(registry, local["bob"], name, "production", "good"),
        "promote": lambda: promote(registry, local["sam"], name, "staging"),
        "break-glass": lambda: promote(
            registry, local["ann"], name, "production", break_glass=BreakGlass("x", timedelta(hours=1))
        ),
        "export": lambda: export_release(registry, name, tmp_path / "no.tar"),
        "papers": lambda: build_documents(registry, name),
        "use": lambda: resolve_adapter(name, pytest.fail, registry.folder),
        "sign": lambda: sign_release(registry, name, registry.folder / "keys" / "bob.pem", tmp_path / "no.sig"),
        "push": lambda: push_release(registry, local["sam"], name, "team/pick"),
    }
    for act in ("promote", "break-glass", "push") if what == "provenance" else acts:
        with pytest.raises(TamperError):
            acts[act]()
    assert not (tmp_path / "no.tar").exists()
    assert any(NAME in fault for fault in verify(registry).faults)


def test_channel_with_a_false_release_does_not_resolve(local: Team) -> None:
    """The rules of a channel without requirements do not check files, so the check is made on use."""
    release, _ = lying(local, card=None)
    with local.registry.view() as state:
        policy = current_policy(state).digest
    move = {"channel": "staging", "generation": 1, "action": "promotion", "policy": policy}
    append_unchecked(local.registry, local["sam"], ChannelUpdated.model_validate(release.identity | move))
    with pytest.raises(TamperError, match="states a different card than its files have"):
        resolve_adapter(f"{NAME}@staging", pytest.fail, local.registry.folder)


@pytest.mark.parametrize("blob", ["card", "weights", "provenance", "missing"])
def test_digest_without_a_manifest_is_rejected(local: Team, blob: str) -> None:
    good = make_release(local)
    digest = "9" * 64 if blob == "missing" else getattr(good, blob)
    append_unchecked(local.registry, local["sam"], good.model_copy(update={"number": 2, "digest": digest}))
    with pytest.raises(RegistryError):
        resolve_adapter(f"{NAME}@2", pytest.fail, local.registry.folder)
    with pytest.raises(RegistryError):
        promote(local.registry, local["sam"], f"{NAME}@2", "staging")
    assert not verify(local.registry).is_valid


@pytest.mark.parametrize("changed", [{"fps": 8.0}, {"format": 2}, {"digest": "0" * 64}])
def test_changed_card_is_rejected(local: Team, changed: dict[str, Any]) -> None:
    good, source = make_release(local), local.another()
    (source / CARD).write_text(json.dumps(json.loads((source / CARD).read_text()) | changed))
    manifest = build_manifest(source)
    store_files(local.registry, source, manifest)
    card = next(entry.sha256 for entry in manifest.files if entry.name == CARD)
    lies = {"number": 2, "digest": manifest.digest, "size": manifest.size, "card": card}
    release = good.model_copy(update=lies)
    with pytest.raises(TamperError, match="the card cannot be used: "):
        check_release_files(local.registry.store, release)
    append_unchecked(local.registry, local["sam"], release)
    with pytest.raises(TamperError, match="the card cannot be used: "):
        build_lineage(local.registry, release.name)
    with pytest.raises(AdapterError):
        add_release(local.registry, local["sam"], NAME, source)


@pytest.mark.parametrize("blob", ["weights", "provenance", "digest"])
def test_invalid_card_is_rejected(local: Team, blob: str) -> None:
    good = make_release(local)
    lies = {"number": 2, "digest": "9" * 64, "card": getattr(good, blob)}
    append_unchecked(local.registry, local["sam"], good.model_copy(update=lies))
    with pytest.raises(RegistryError):
        build_lineage(local.registry, f"{NAME}@2")
    with pytest.raises(RegistryError):
        check_release_files(local.registry.store, good.model_copy(update=lies))
