"""What came with an import: as old as when it was said, and never stronger than what was said here since."""

from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.approval import approve, withdraw
from worldtune.registry.bring_in import bring_in
from worldtune.registry.bundle import export
from worldtune.registry.facts import Approved, Evaluated, Released
from worldtune.registry.labels import label
from worldtune.registry.promotion import promote
from worldtune.registry.releases import resolve
from worldtune.registry.standing import policy_now
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import events_of, faults_of, forget, rogue, signed_envelope
from ..prepared import LATER, judged, ready, released


def sent(team: Team, target: Path) -> Released:
    """A release that is judged and approved there, as a tar."""
    release = ready(team)
    export(team.registry, release.name, target)
    return release


def test_older_pass_that_is_brought_does_not_override_a_newer_fail(local: Team, away: Team, tmp_path: Path) -> None:
    release = released(local)
    export(local.registry, release.name, tmp_path / "first.tar")
    judged(local, release, expires=LATER)
    approve(local.registry, local["bob"], release.name, "production", "good")
    export(local.registry, release.name, tmp_path / "then.tar")
    here = bring_in(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    judged(away, here, outcome="fail")
    brought = bring_in(away.registry, away["sam"], tmp_path / "then.tar")
    assert [event.fact.kind for event in brought.counted] == ["evaluated", "approved"]
    with pytest.raises(RegistryError, match="the gates say fail"):
        promote(away.registry, away["sam"], here.name, "production")
    judged(away, here)
    promote(away.registry, away["sam"], here.name, "production")
    assert verify(away.registry).sound


def test_newer_fail_that_is_brought_overrides_an_older_pass(local: Team, away: Team, tmp_path: Path) -> None:
    here = bring_in(away.registry, away["sam"], _sent_first(local, tmp_path)).release.fact
    judged(away, here)
    judged(local, here, outcome="fail")
    export(local.registry, here.name, tmp_path / "then.tar")
    bring_in(away.registry, away["sam"], tmp_path / "then.tar")
    with pytest.raises(RegistryError, match="the gates say fail"):
        promote(away.registry, away["sam"], here.name, "production")


def _sent_first(team: Team, tmp_path: Path) -> Path:
    release = released(team)
    approve(team.registry, team["bob"], release.name, "production", "good")
    export(team.registry, release.name, tmp_path / "first.tar")
    return tmp_path / "first.tar"


def test_approval_given_elsewhere_before_a_withdrawal_here_does_not_come_back(
    local: Team, away: Team, tmp_path: Path
) -> None:
    """bob approves it there twice; here he takes it back; the second comes along afterwards."""
    sent(local, tmp_path / "first.tar")
    here = bring_in(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    approve(local.registry, local["bob"], here.name, "production", "once more")
    export(local.registry, here.name, tmp_path / "then.tar")
    withdraw(away.registry, local["bob"], here.name, "production", "I looked again")
    brought = bring_in(away.registry, away["sam"], tmp_path / "then.tar")
    assert [event.fact.kind for event in brought.counted] == ["approved"]
    with pytest.raises(RegistryError, match="bob took it back"):
        promote(away.registry, away["sam"], here.name, "production")
    approve(away.registry, local["bob"], here.name, "production", "it is good")
    promote(away.registry, away["sam"], here.name, "production")


def test_approval_that_does_not_count_here_does_not_travel(local: Team, away: Team, tmp_path: Path) -> None:
    sent(local, tmp_path / "first.tar")
    here = bring_in(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    approve(local.registry, local["bob"], here.name, "production", "once more")
    export(local.registry, here.name, tmp_path / "then.tar")
    withdraw(away.registry, local["bob"], here.name, "production", "I looked again")
    bring_in(away.registry, away["sam"], tmp_path / "then.tar")
    export(away.registry, here.name, tmp_path / "on.tar")
    assert b"approved" not in _payloads(tmp_path / "on.tar")


def _payloads(tar: Path) -> bytes:
    """What is signed in it, of all statements."""
    import base64
    import json

    from ..test_adversary import statements

    return b"\n".join(base64.b64decode(json.loads(one)["payload"]) for one in statements(tar))


@pytest.mark.parametrize("kind", [Evaluated, Approved])
def test_statement_that_was_brought_counts_once(local: Team, away: Team, tmp_path: Path, kind: type) -> None:
    sent(local, tmp_path / "first.tar")
    here = bring_in(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    (event,) = events_of(away.registry, kind)
    with pytest.raises(RegistryError, match="it was brought along before"), away.registry.writer(away["sam"]) as writer:
        writer.append(event.fact)
    rogue(away.registry, away["sam"], event.fact)
    assert events_of(away.registry, kind) == [event]
    assert "it was brought along before" in faults_of(away)
    promote(away.registry, away["sam"], here.name, "production")


CHANGES = {
    "outcome": "pass", "channel": "staging", "reason": "forged", "expires": LATER, "policy": "0" * 64,
    "base_name": "another", "labels": {"a": "b"}, "parent": "1" * 64, "size": 5, "results": "0" * 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Evaluated, ["expires", "results"]),
        (Approved, ["channel", "reason", "expires", "policy"]),
        (Released, ["base_name", "labels", "parent", "size"]),
    ],
)
def test_statement_says_here_what_it_said_there(
    local: Team, away: Team, tmp_path: Path, kind: type, names: list[str]
) -> None:
    sent(local, tmp_path / "first.tar")
    bring_in(away.registry, away["sam"], tmp_path / "first.tar")
    (event,) = events_of(away.registry, kind)
    with away.registry.view() as state:
        before = state.dump()
    changed = {"digest": "2" * 64, "number": 2} if kind is Released else {}
    for name in names:
        rogue(away.registry, away["sam"], event.fact.model_copy(update=changed | {name: CHANGES[name]}))
    with away.registry.view() as state:
        after = state.dump()
    assert {name for name in after if after[name] != before[name]} == {"head", "ignored"}
    assert faults_of(away).count("it is not what") == len(names)


def test_statement_of_one_kind_is_none_of_another(local: Team, away: Team, tmp_path: Path) -> None:
    sent(local, tmp_path / "first.tar")
    here = bring_in(away.registry, away["sam"], tmp_path / "first.tar").release.fact
    (passed,) = events_of(away.registry, Evaluated)
    with away.registry.view() as state:
        given = {"channel": "production", "policy": policy_now(state).digest, "reason": "a", "expires": LATER}
    mine = Approved(**here.identity, **given, person="eva", statement=passed.fact.statement)
    rogue(away.registry, away["sam"], mine)
    assert "it is no such statement of another registry" in faults_of(away)


def test_event_of_here_is_not_brought_from_elsewhere(local: Team) -> None:
    """One's own statements, which this log holds, are not said a second time by an import of them."""
    release = ready(local)
    (given,) = events_of(local.registry, Approved)
    again = given.fact.model_copy(update={"statement": signed_envelope(local.registry, given).decode()})
    rogue(local.registry, local["sam"], again)
    label(local.registry, local["sam"], NAME, {"a": "b"})
    for _ in range(2):
        with local.registry.view() as state:
            assert resolve(state, release.name).digest == release.digest
            assert sum(len(events) for events in state.approvals.values()) == 1
        forget(local.registry)
    assert "it is no such statement of another registry" in faults_of(local)
