"""The database's owner cannot hide events that block a release, nor insert another registry's events."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from worldtune.core.files import digest_bytes
from worldtune.errors import RegistryError, TamperError
from worldtune.registry.events.events import KeyAdded, PolicySet, ReleaseAdded, ReleaseApproved
from worldtune.registry.governance.admin import enroll, retire_key, set_expectation, set_policy
from worldtune.registry.governance.approval import approve, revoke_release, withdraw_approval
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log.event_log import Event
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.registry import create_registry, open_registry
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.signing.keys import generate_key, public_key_path
from worldtune.registry.verify import verify

from ..conftest import NAME, ROLES, Team
from ..log_support import (
    append_unchecked,
    delete,
    find_faults,
    forget_log,
    insert_rows,
    list_events,
    read_rows,
    resolve_digest,
    tamper,
)
from ..prepared import PRODUCTION, attach_evidence, make_approved_release, make_release


def revocation(team: Team) -> tuple[Event[Any], str]:
    release = make_approved_release(team)
    promote(team.registry, team["sam"], release.name, "production")
    return revoke_release(team.registry, team["bob"], release.name, "bad"), "is revoked: bad"


def stolen_key(team: Team) -> tuple[Event[Any], str]:
    release = make_release(team)
    attach_evidence(team, release)
    gone = retire_key(team.registry, team["ann"], team["bea"].public_key.keyid, "gone", stolen=True)
    with pytest.raises(RegistryError, match="was retired"):
        approve(team.registry, team["bea"], release.name, "production", "mine")
    return gone, "approvals: 0 of 1"


def withdrawal(team: Team) -> tuple[Event[Any], str]:
    release = make_approved_release(team)
    return withdraw_approval(team.registry, team["bob"], release.name, "production", "no"), "bob withdrew it"


def newest_fail(team: Team) -> tuple[Event[Any], str]:
    release = make_approved_release(team)
    attach_evidence(team, release, outcome="fail")
    return list_events(team.registry)[-1], "the gates say fail"


def newest_policy(team: Team) -> tuple[Event[Any], str]:
    make_approved_release(team)
    stricter = Policy(channels={"production": ChannelRule(approvals=2, evidence=True), "*": ChannelRule()})
    return set_policy(team.registry, team["ann"], stricter), "approvals: 0 of 2"


def expectation(team: Team) -> tuple[Event[Any], str]:
    make_approved_release(team, calibration="8" * 64)
    return set_expectation(team.registry, team["ann"], NAME, "calibration", "9" * 64, "moved"), "expected is"


ATTACKS = [revocation, stolen_key, withdrawal, newest_fail, newest_policy, expectation]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("how", ["deleted", "edited", "replaced"])
def test_hiding_a_row_does_not_allow_a_promotion(
    local: Team, attack: Callable[[Team], tuple[Event[Any], str]], how: str
) -> None:
    """The database's owner hides a row while someone promotes, then restores it: nothing was promoted."""
    hidden, refusal = attack(local)
    update_labels(local.registry, local["sam"], NAME, {"later": "event"})
    before = read_rows(local.registry)
    row = before[hidden.sequence - 1]
    if how == "deleted":
        delete(local.registry, hidden)
    elif how == "edited":
        tamper(local.registry, f"UPDATE event SET envelope = 'x' WHERE sequence = {hidden.sequence}")
    else:
        delete(local.registry, hidden)
        insert_rows(local.registry, before[2]._replace(sequence=hidden.sequence))
    assert f"event {hidden.sequence}" in find_faults(local)
    promotion = honest_promotion(local)
    with pytest.raises(RegistryError, match=refusal):  # this machine verified it before
        promotion()
    forget_log(local.registry)
    with pytest.raises(TamperError):  # and this one never did
        promotion()
    tamper(local.registry, f"DELETE FROM event WHERE sequence = {hidden.sequence}")
    insert_rows(local.registry, row)
    assert read_rows(local.registry) == before
    assert verify(local.registry).is_valid
    with pytest.raises(RegistryError, match=refusal):
        promotion()


def honest_promotion(team: Team) -> Callable[[], object]:
    """Return an honest promotion, which must be rejected."""
    return lambda: promote(team.registry, team["sam"], f"{NAME}@1", "production")


def test_deleted_promotion_does_not_restore_the_previous_one(local: Team) -> None:
    first, second = make_approved_release(local), make_approved_release(local)
    promote(local.registry, local["sam"], first.name, "production")
    move = promote(local.registry, local["sam"], second.name, "production")
    update_labels(local.registry, local["sam"], NAME, {"later": "event"})
    delete(local.registry, move)
    assert resolve_digest(local.registry, PRODUCTION) == second.digest
    assert f"event {move.sequence} is missing" in find_faults(local)
    forget_log(local.registry)
    with pytest.raises(TamperError, match=f"event {move.sequence} is missing"):
        resolve_digest(local.registry, PRODUCTION)


def test_number_of_a_deleted_release_cannot_be_reused(local: Team) -> None:
    """The newest event is deleted, and its author's own program signs another for its position."""
    first, other = make_release(local), local.another()
    (event_,) = list_events(local.registry, ReleaseAdded)
    delete(local.registry, event_)
    with pytest.raises(TamperError):
        update_labels(local.registry, local["sam"], NAME, {"a": "b"})
    last = read_rows(local.registry)[-1]
    fact = first.model_copy(update={"digest": digest_bytes(other.name.encode())})
    assert last.sequence == 6
    local_without = open_registry(local.registry.folder, ignore_cache=True)
    seen = local.registry.seen_head_path.read_bytes()
    forget_log(local.registry)
    append_unchecked(local.registry, local["sam"], fact)
    forget_log(local.registry)
    local.registry.seen_head_path.parent.mkdir(exist_ok=True)
    local.registry.seen_head_path.write_bytes(seen)
    for registry in (local.registry, local_without):
        with pytest.raises(TamperError, match="event 7, which this machine saw, is no longer in the log"):
            resolve_digest(registry, first.name)


def test_hidden_end_of_the_log_cannot_be_restored(local: Team) -> None:
    """A machine that never saw the hidden event promotes meanwhile, so the event's position is taken."""
    revoked, _ = revocation(local)
    row = read_rows(local.registry)[-1]
    delete(local.registry, revoked)
    with pytest.raises(TamperError, match=", which this machine saw, is no longer in the log"):
        honest_promotion(local)()
    forget_log(local.registry)
    honest_promotion(local)()
    with pytest.raises(IntegrityError):
        insert_rows(local.registry, row)
    insert_rows(local.registry, row._replace(sequence=row.sequence + 1))
    assert f"the event was signed as event {row.sequence}" in find_faults(local)


def rehearsal(team: Team, tmp_path: Path) -> Team:
    """Create another registry of the same people with the same keys."""
    registry = create_registry(tmp_path / "rehearsal", "ann", team["ann"])
    for person, roles in ROLES.items():
        public = public_key_path(team.registry.folder / "keys" / f"{person}.pem")
        enroll(registry, team["ann"], person, public, roles, "365d")
    return Team(registry, team.keys, tmp_path, team.adapter, made=50)


def lax_policy(there: Team, tmp_path: Path) -> Event[Any]:
    set_policy(there.registry, there["ann"], Policy(channels={"*": ChannelRule()}))
    return list_events(there.registry, PolicySet)[-1]


def approval_there(there: Team, tmp_path: Path) -> Event[Any]:
    approve(there.registry, there["bob"], make_release(there).name, "production", "a rehearsal")
    return list_events(there.registry, ReleaseApproved)[-1]


def administrator_there(there: Team, tmp_path: Path) -> Event[Any]:
    generate_key(tmp_path / "mallory.pem")
    enroll(there.registry, there["ann"], "mallory", public_key_path(tmp_path / "mallory.pem"), ("admin",), None)
    return list_events(there.registry, KeyAdded)[-1]


@pytest.mark.parametrize("say", [lax_policy, approval_there, administrator_there])
def test_event_of_another_registry_is_rejected(
    team: Team, tmp_path: Path, say: Callable[[Team, Path], Event[Any]]
) -> None:
    """The log is padded until its next position is that of the other registry's event, which is then copied."""
    release = make_release(team)
    there = rehearsal(team, tmp_path)
    update_labels(there.registry, there["sam"], make_release(there).adapter, {"pad": "0"})
    foreign = say(there, tmp_path)
    while len(read_rows(team.registry)) + 1 < foreign.sequence:
        update_labels(team.registry, team["sam"], NAME, {"pad": "0"})
    insert_rows(team.registry, read_rows(there.registry)[foreign.sequence - 1])
    for act in (honest_promotion(team), lambda: resolve_digest(team.registry, release.name)):
        with pytest.raises(TamperError, match="the event is from another registry"):
            act()
    fault = f"the event is from another registry, '{there.registry.config.registry}' [event {foreign.sequence}]"
    assert fault in find_faults(team)
    there.registry.engine.dispose()
