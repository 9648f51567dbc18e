"""What speaks against a release is not hidden by who owns the database, nor answered by another registry."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from worldtune.errors import RegistryError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry.approval import approve, revoke, withdraw
from worldtune.registry.enrolment import enrol, expect, retire, set_policy
from worldtune.registry.facts import Approved, Enrolled, PolicySet, Released
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.labels import label
from worldtune.registry.log.event_log import Event
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import promote
from worldtune.registry.registry import found_registry, open_registry
from worldtune.registry.verify import verify

from ..conftest import NAME, ROLES, Team
from ..log_support import delete, events_of, faults_of, forget, insert_rows, resolved, rogue, rows, tampered
from ..prepared import PRODUCTION, judged, ready, released


def revocation(team: Team) -> tuple[Event[Any], str]:
    release = ready(team)
    promote(team.registry, team["sam"], release.name, "production")
    return revoke(team.registry, team["bob"], release.name, "bad"), "is revoked: bad"


def stolen_key(team: Team) -> tuple[Event[Any], str]:
    release = released(team)
    judged(team, release)
    gone = retire(team.registry, team["ann"], team["bea"].public_key.keyid, "gone", stolen=True)
    with pytest.raises(RegistryError, match="was retired"):
        approve(team.registry, team["bea"], release.name, "production", "mine")
    return gone, "approvals: 0 of 1"


def withdrawal(team: Team) -> tuple[Event[Any], str]:
    release = ready(team)
    return withdraw(team.registry, team["bob"], release.name, "production", "no"), "bob took it back"


def newest_fail(team: Team) -> tuple[Event[Any], str]:
    release = ready(team)
    judged(team, release, outcome="fail")
    return events_of(team.registry)[-1], "the gates say fail"


def newest_policy(team: Team) -> tuple[Event[Any], str]:
    ready(team)
    stricter = Policy(channels={"production": Rule(approvals=2, evidence=True), "*": Rule()})
    return set_policy(team.registry, team["ann"], stricter), "approvals: 0 of 2"


def expectation(team: Team) -> tuple[Event[Any], str]:
    ready(team, calibration="8" * 64)
    return expect(team.registry, team["ann"], NAME, "calibration", "9" * 64, "moved"), "is expected"


ATTACKS = [revocation, stolen_key, withdrawal, newest_fail, newest_policy, expectation]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("how", ["deleted", "edited", "replaced"])
def test_row_that_speaks_against_a_release_is_not_got_rid_of(
    local: Team, attack: Callable[[Team], tuple[Event[Any], str]], how: str
) -> None:
    """Whoever owns the database hides it while somebody promotes, and puts it back: nothing was let in."""
    hidden, refusal = attack(local)
    label(local.registry, local["sam"], NAME, {"later": "event"})
    before = rows(local.registry)
    row = before[hidden.sequence - 1]
    if how == "deleted":
        delete(local.registry, hidden)
    elif how == "edited":
        tampered(local.registry, f"UPDATE event SET envelope = 'x' WHERE sequence = {hidden.sequence}")
    else:
        delete(local.registry, hidden)
        insert_rows(local.registry, before[2]._replace(sequence=hidden.sequence))
    assert f"event {hidden.sequence}" in faults_of(local)
    promotion = honest_promotion(local)
    with pytest.raises(RegistryError, match=refusal):  # this machine verified it before
        promotion()
    forget(local.registry)
    with pytest.raises(TamperError):  # and this one never did
        promotion()
    tampered(local.registry, f"DELETE FROM event WHERE sequence = {hidden.sequence}")
    insert_rows(local.registry, row)
    assert rows(local.registry) == before
    assert verify(local.registry).sound
    with pytest.raises(RegistryError, match=refusal):
        promotion()


def honest_promotion(team: Team) -> Callable[[], object]:
    """An honest promotion, which must be refused."""
    return lambda: promote(team.registry, team["sam"], f"{NAME}@1", "production")


def test_newest_move_that_was_deleted_does_not_bring_the_one_before_back(local: Team) -> None:
    first, second = ready(local), ready(local)
    promote(local.registry, local["sam"], first.name, "production")
    move = promote(local.registry, local["sam"], second.name, "production")
    label(local.registry, local["sam"], NAME, {"later": "event"})
    delete(local.registry, move)
    assert resolved(local.registry, PRODUCTION) == second.digest
    assert f"the event {move.sequence} is missing" in faults_of(local)
    forget(local.registry)
    with pytest.raises(TamperError, match=f"the event {move.sequence} is missing"):
        resolved(local.registry, PRODUCTION)


def test_number_is_not_given_to_other_bytes(local: Team) -> None:
    """The newest event is taken out, and its author's own program signs another for its place."""
    first, other = released(local), local.another()
    (event_,) = events_of(local.registry, Released)
    delete(local.registry, event_)
    with pytest.raises(TamperError):
        label(local.registry, local["sam"], NAME, {"a": "b"})
    last = rows(local.registry)[-1]
    fact = first.model_copy(update={"digest": digest_bytes(other.name.encode())})
    assert last.sequence == 6
    local_without = open_registry(local.registry.folder, from_nothing=True)
    seen = local.registry.seen.read_bytes()
    forget(local.registry)
    rogue(local.registry, local["sam"], fact)
    forget(local.registry)
    local.registry.seen.parent.mkdir(exist_ok=True)
    local.registry.seen.write_bytes(seen)
    for registry in (local.registry, local_without):
        with pytest.raises(TamperError, match="the event 7 that this machine saw is not in the log"):
            resolved(registry, first.name)


def test_end_of_the_log_is_not_hidden_and_put_back(local: Team) -> None:
    """A machine that saw none of it promotes meanwhile: then what was hidden has no place any more."""
    revoked, _ = revocation(local)
    row = rows(local.registry)[-1]
    delete(local.registry, revoked)
    with pytest.raises(TamperError, match="that this machine saw is not in the log any more"):
        honest_promotion(local)()
    forget(local.registry)
    honest_promotion(local)()
    with pytest.raises(IntegrityError):
        insert_rows(local.registry, row)
    insert_rows(local.registry, row._replace(sequence=row.sequence + 1))
    assert f"it was signed as event {row.sequence}" in faults_of(local)


def rehearsal(team: Team, tmp_path: Path) -> Team:
    """A registry for tests, of the same people with the same keys."""
    registry = found_registry(tmp_path / "rehearsal", "ann", team["ann"])
    for person, roles in ROLES.items():
        public = public_path(team.registry.folder / "keys" / f"{person}.pem")
        enrol(registry, team["ann"], person, public, roles, "365d")
    return Team(registry, team.keys, tmp_path, team.adapter, made=50)


def lax_policy(there: Team, tmp_path: Path) -> Event[Any]:
    set_policy(there.registry, there["ann"], Policy(channels={"*": Rule()}))
    return events_of(there.registry, PolicySet)[-1]


def approval_there(there: Team, tmp_path: Path) -> Event[Any]:
    approve(there.registry, there["bob"], released(there).name, "production", "a rehearsal")
    return events_of(there.registry, Approved)[-1]


def administrator_there(there: Team, tmp_path: Path) -> Event[Any]:
    make_key(tmp_path / "mallory.pem")
    enrol(there.registry, there["ann"], "mallory", public_path(tmp_path / "mallory.pem"), ("admin",), None)
    return events_of(there.registry, Enrolled)[-1]


@pytest.mark.parametrize("say", [lax_policy, approval_there, administrator_there])
def test_event_of_another_registry_counts_for_nothing(
    team: Team, tmp_path: Path, say: Callable[[Team, Path], Event[Any]]
) -> None:
    """A log is padded until its next number is that of the other registry's event, which is copied there."""
    release = released(team)
    there = rehearsal(team, tmp_path)
    label(there.registry, there["sam"], released(there).adapter, {"pad": "0"})
    foreign = say(there, tmp_path)
    while len(rows(team.registry)) + 1 < foreign.sequence:
        label(team.registry, team["sam"], NAME, {"pad": "0"})
    insert_rows(team.registry, rows(there.registry)[foreign.sequence - 1])
    for act in (honest_promotion(team), lambda: resolved(team.registry, release.name)):
        with pytest.raises(TamperError, match="it is of another registry"):
            act()
    assert f"it is of another registry, '{there.registry.place.registry}' [event {foreign.sequence}]" in faults_of(team)
    there.registry.engine.dispose()
