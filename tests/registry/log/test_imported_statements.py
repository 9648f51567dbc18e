"""What came with an import: as old as when it was said, and never stronger than what was said here since."""

from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.events.events import ReleaseAdded, ReleaseApproved, ReleaseEvaluated
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.governance.approval import approve, withdraw_approval
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.resolve import resolve
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import append_unchecked, find_faults, forget_log, list_events, read_signed_envelope
from ..prepared import LATER, attach_evidence, make_approved_release, make_release


def sent(team: Team, target: Path) -> ReleaseAdded:
    """Export an evaluated and approved release."""
    release = make_approved_release(team)
    export_release(team.registry, release.name, target)
    return release


def test_imported_older_pass_does_not_override_a_newer_fail(local: Team, away: Team, tmp_path: Path) -> None:
    release = make_release(local)
    export_release(local.registry, release.name, tmp_path / "first.tar")
    attach_evidence(local, release, expires=LATER)
    approve(local.registry, local["bob"], release.name, "production", "good")
    export_release(local.registry, release.name, tmp_path / "then.tar")
    here = import_release(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    attach_evidence(away, here, outcome="fail")
    imported = import_release(away.registry, away["sam"], tmp_path / "then.tar")
    assert [event.fact.kind for event in imported.accepted] == ["release_evaluated", "release_approved"]
    with pytest.raises(RegistryError, match="the gates say fail"):
        promote(away.registry, away["sam"], here.name, "production")
    attach_evidence(away, here)
    promote(away.registry, away["sam"], here.name, "production")
    assert verify(away.registry).is_valid


def test_imported_newer_fail_overrides_an_older_pass(local: Team, away: Team, tmp_path: Path) -> None:
    here = import_release(away.registry, away["sam"], _sent_first(local, tmp_path)).release.fact
    attach_evidence(away, here)
    attach_evidence(local, here, outcome="fail")
    export_release(local.registry, here.name, tmp_path / "then.tar")
    import_release(away.registry, away["sam"], tmp_path / "then.tar")
    with pytest.raises(RegistryError, match="the gates say fail"):
        promote(away.registry, away["sam"], here.name, "production")


def _sent_first(team: Team, tmp_path: Path) -> Path:
    release = make_release(team)
    approve(team.registry, team["bob"], release.name, "production", "good")
    export_release(team.registry, release.name, tmp_path / "first.tar")
    return tmp_path / "first.tar"


def test_import_does_not_restore_a_withdrawn_approval(local: Team, away: Team, tmp_path: Path) -> None:
    """bob approves it twice there and withdraws here; his second approval is imported afterwards."""
    sent(local, tmp_path / "first.tar")
    here = import_release(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    approve(local.registry, local["bob"], here.name, "production", "once more")
    export_release(local.registry, here.name, tmp_path / "then.tar")
    withdraw_approval(away.registry, local["bob"], here.name, "production", "I looked again")
    imported = import_release(away.registry, away["sam"], tmp_path / "then.tar")
    assert [event.fact.kind for event in imported.accepted] == ["release_approved"]
    with pytest.raises(RegistryError, match="bob withdrew it"):
        promote(away.registry, away["sam"], here.name, "production")
    approve(away.registry, local["bob"], here.name, "production", "it is good")
    promote(away.registry, away["sam"], here.name, "production")


def test_withdrawn_approval_is_not_exported(local: Team, away: Team, tmp_path: Path) -> None:
    sent(local, tmp_path / "first.tar")
    here = import_release(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    approve(local.registry, local["bob"], here.name, "production", "once more")
    export_release(local.registry, here.name, tmp_path / "then.tar")
    withdraw_approval(away.registry, local["bob"], here.name, "production", "I looked again")
    import_release(away.registry, away["sam"], tmp_path / "then.tar")
    export_release(away.registry, here.name, tmp_path / "on.tar")
    assert b"approved" not in _payloads(tmp_path / "on.tar")


def _payloads(tar: Path) -> bytes:
    """Return the signed payloads of all statements in a tar."""
    import base64
    import json

    from ..test_adversary import statements

    return b"\n".join(base64.b64decode(json.loads(statement)["payload"]) for statement in statements(tar))


@pytest.mark.parametrize("kind", [ReleaseEvaluated, ReleaseApproved])
def test_imported_statement_counts_once(local: Team, away: Team, tmp_path: Path, kind: type) -> None:
    sent(local, tmp_path / "first.tar")
    here = import_release(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    (event,) = list_events(away.registry, kind)
    with pytest.raises(RegistryError, match="was already imported"), away.registry.writer(away["sam"]) as writer:
        writer.append(event.fact)
    append_unchecked(away.registry, away["sam"], event.fact)
    assert list_events(away.registry, kind) == [event]
    assert "the statement was already imported" in find_faults(away)
    promote(away.registry, away["sam"], here.name, "production")


CHANGES = {
    "outcome": "pass", "channel": "staging", "reason": "forged", "expires": LATER, "policy": "0" * 64,
    "base_name": "another", "labels": {"a": "b"}, "parent": "1" * 64, "size": 5, "results": "0" * 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (ReleaseEvaluated, ["expires", "results"]),
        (ReleaseApproved, ["channel", "reason", "expires", "policy"]),
        (ReleaseAdded, ["base_name", "labels", "parent", "size"]),
    ],
)
def test_imported_statement_cannot_be_changed(
    local: Team, away: Team, tmp_path: Path, kind: type, names: list[str]
) -> None:
    sent(local, tmp_path / "first.tar")
    import_release(away.registry, away["sam"], tmp_path / "first.tar")
    (event,) = list_events(away.registry, kind)
    with away.registry.view() as state:
        before = state.dump()
    changed = {"digest": "2" * 64, "number": 2} if kind is ReleaseAdded else {}
    for name in names:
        append_unchecked(away.registry, away["sam"], event.fact.model_copy(update=changed | {name: CHANGES[name]}))
    with away.registry.view() as state:
        after = state.dump()
    assert {name for name in after if after[name] != before[name]} == {"head", "ignored"}
    assert find_faults(away).count("the event differs from what") == len(names)


def test_statement_of_another_kind_is_rejected(local: Team, away: Team, tmp_path: Path) -> None:
    sent(local, tmp_path / "first.tar")
    here = import_release(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    (passed,) = list_events(away.registry, ReleaseEvaluated)
    with away.registry.view() as state:
        given = {"channel": "production", "policy": current_policy(state).digest, "reason": "a", "expires": LATER}
    mine = ReleaseApproved(**here.identity, **given, person="eva", statement=passed.fact.statement)
    append_unchecked(away.registry, away["sam"], mine)
    assert "statement of another registry" in find_faults(away)


def test_own_statement_cannot_be_imported(local: Team) -> None:
    """Importing this log's own statements does not repeat them."""
    release = make_approved_release(local)
    (given,) = list_events(local.registry, ReleaseApproved)
    again = given.fact.model_copy(update={"statement": read_signed_envelope(local.registry, given).decode()})
    append_unchecked(local.registry, local["sam"], again)
    update_labels(local.registry, local["sam"], NAME, {"a": "b"})
    for _ in range(2):
        with local.registry.view() as state:
            assert resolve(state, release.name).digest == release.digest
            assert sum(len(events) for events in state.approvals.values()) == 1
        forget_log(local.registry)
    assert "statement of another registry" in find_faults(local)
