"""The event log: signed, chained, refused when it was changed, and one writer at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from worldtune.errors import BusyError, RegistryError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry import database
from worldtune.registry.approval import approve, revoke, withdraw
from worldtune.registry.enrolment import enrol, expect, retire, set_policy
from worldtune.registry.facts import Approved, Enrolled, Labelled, Moved, PolicySet, Released, Revoked
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.labels import label
from worldtune.registry.log.event_log import MEND, Event
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import promote
from worldtune.registry.registry import Registry, found_registry, open_registry, policy_fact
from worldtune.registry.releases import resolve
from worldtune.registry.verify import verify

from ..conftest import NAME, ROLES, Team
from ..log_support import Row, delete, events_of, faults_of, forget, insert_rows, rogue, rows, tampered
from ..prepared import PRODUCTION, judged, ready, released


@pytest.mark.parametrize("change", ["UPDATE event SET sequence = sequence", "DELETE FROM event"])
def test_database_itself_refuses_to_change_what_is_there(team: Team, change: str) -> None:
    released(team)
    with (
        pytest.raises(DBAPIError, match="what is in the log is not changed"),
        team.registry.engine.begin() as connection,
    ):
        connection.execute(text(change))
    assert verify(team.registry).events == 7


def resolved(registry: Registry, reference: str) -> str:
    with registry.view() as state:
        return resolve(state, reference).digest


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("UPDATE event SET hash = '{0}' WHERE sequence = 3", "its bytes are not those of its hash [event 3]"),
        ("UPDATE event SET hash = '' WHERE sequence = 7", "its bytes are not those of its hash [event 7]"),
        ("UPDATE event SET envelope = replace(envelope, 'a', 'b') WHERE sequence = 3", "those of its hash [event 3]"),
        ("UPDATE event SET envelope = '' WHERE sequence = 1", "its bytes are not those of its hash [event 1]"),
        ("UPDATE event SET sequence = 99 WHERE sequence = 7", "the event 7 is missing [event 8]"),
        ("UPDATE event SET sequence = 0 WHERE sequence = 7", "the event 7 is missing"),
        ("DELETE FROM event WHERE sequence = 1", "the event 1 is missing [event 2]"),
        ("DELETE FROM event WHERE sequence = 4", "the event 4 is missing [event 5]"),
        ("DELETE FROM event WHERE sequence IN (5, 6)", "the event 5 is missing [event 7]"),
        (
            "UPDATE event SET hash = (SELECT hash FROM event WHERE sequence = 3), envelope = "
            "(SELECT envelope FROM event WHERE sequence = 3) WHERE sequence = 4",
            "it was signed as event 3 [event 4]",
        ),
    ],
)
def test_row_that_was_changed_is_named(team: Team, command: str, fault: str) -> None:
    release = released(team)
    label(team.registry, team["sam"], NAME, {"robot": "so101"})
    assert verify(team.registry).sound
    tampered(team.registry, command.format("0" * 64))
    assert fault in faults_of(team)
    forget(team.registry)
    with pytest.raises(TamperError):
        resolved(team.registry, release.name)
    with pytest.raises(TamperError):
        label(team.registry, team["sam"], NAME, {"robot": "so102"})


def test_rows_after_a_fault_are_counted_and_not_believed(local: Team) -> None:
    released(local)
    tampered(local.registry, "UPDATE event SET hash = 'x' WHERE sequence = 3")
    found = verify(local.registry)
    assert (found.events, found.head.sequence, found.releases) == (7, 2, 0)
    assert "4 events after it cannot be judged [event 4 and on]" in found.faults[1]


def test_row_before_the_first_is_named_and_not_read(local: Team) -> None:
    release = released(local)
    insert_rows(local.registry, rows(local.registry)[6]._replace(sequence=0))
    assert resolved(local.registry, release.name) == release.digest
    assert "1 rows stand before the first event" in faults_of(local)


def junk(team: Team, kind: str) -> Row:
    """A row for the end of the log, as anybody can insert one."""
    last = rows(team.registry)[-1]
    place = last.sequence + 1
    texts = {
        "text": "x", "empty": "", "number": "5", "no envelope": '{"signatures": [], "payload": ""}',
        "an earlier event": last.envelope, "deep": "[" * 200_000, "large": "x" * (5 << 20),
    }  # fmt: skip
    return Row(place, digest_bytes(texts[kind].encode()), texts[kind])


@pytest.mark.parametrize("kind", ["text", "empty", "number", "no envelope", "an earlier event", "deep", "large"])
def test_junk_that_was_inserted_is_named(team: Team, kind: str) -> None:
    """Somebody writes themselves a row, a copy of another for instance."""
    release = released(team)
    insert_rows(team.registry, junk(team, kind))
    assert "[event 8]" in faults_of(team)
    for _ in range(2):  # with what this machine verified before, and without
        with pytest.raises(RegistryError):
            resolved(team.registry, release.name)
        forget(team.registry)
    tampered(team.registry, "DELETE FROM event WHERE sequence = 8")
    assert resolved(team.registry, release.name) == release.digest
    assert verify(team.registry).sound


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"registry": "0" * 36}, "it is of another registry"),
        ({"registry": None}, "it is of another registry"),
        ({"sequence": 7}, "it was signed as event 7"),
        ({"sequence": "8"}, "it was signed as event 8"),
        ({"previous": "0" * 64}, "the chain is broken after event 7"),
        ({"actor": "ann"}, "sam signed it as ann"),
        ({"actor": 5}, "it does not say when, or who"),
        ({"at": None}, "it does not say when, or who"),
        ({"kind": "urn:worldtune:registry:founded:2"}, "a kind that this worldtune does not know"),
        ({"more": 1}, "it is no event of a registry"),
    ],
)
def test_event_that_is_not_of_its_place_stops_everything(local: Team, changed: dict[str, Any], fault: str) -> None:
    release = released(local)
    rogue(local.registry, local["sam"], Labelled(adapter=NAME, labels={"a": "b"}), **changed)
    assert fault in faults_of(local)
    with pytest.raises(TamperError, match=fault):
        resolved(local.registry, release.name)


def test_event_of_somebody_without_a_key_here_stops_everything(local: Team, tmp_path: Path) -> None:
    release = released(local)
    rogue(local.registry, make_key(tmp_path / "eve.pem"), Labelled(adapter=NAME, labels={"a": "b"}))
    with pytest.raises(TamperError, match="signed by a key that nobody has"):
        resolved(local.registry, release.name)
    assert "signed by a key that nobody has" in faults_of(local)


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
    bob = make_bob_sign(local)
    with pytest.raises(RegistryError, match=refusal):  # this machine verified it before
        bob()
    forget(local.registry)
    with pytest.raises(TamperError):  # and this one never did
        bob()
    tampered(local.registry, f"DELETE FROM event WHERE sequence = {hidden.sequence}")
    insert_rows(local.registry, row)
    assert rows(local.registry) == before
    assert verify(local.registry).sound
    with pytest.raises(RegistryError, match=refusal):
        bob()


def make_bob_sign(team: Team) -> Callable[[], object]:
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
        make_bob_sign(local)()
    forget(local.registry)
    make_bob_sign(local)()
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
    for act in (make_bob_sign(team), lambda: resolved(team.registry, release.name)):
        with pytest.raises(TamperError, match="it is of another registry"):
            act()
    assert f"it is of another registry, '{there.registry.place.registry}' [event {foreign.sequence}]" in faults_of(team)
    there.registry.engine.dispose()


def test_another_registry_in_its_place_is_not_taken(local: Team, tmp_path: Path) -> None:
    """The whole database is swapped for one that somebody else founded, who may say that it is this one."""
    other = found_registry(tmp_path / "other", "eve", make_key(tmp_path / "eve.pem"))
    other.engine.dispose()
    for name in ("log.db", "log.db-wal", "log.db-shm"):
        (local.registry.folder / name).unlink(missing_ok=True)
    forget(local.registry)
    (local.registry.folder / "log.db").write_bytes((tmp_path / "other" / "log.db").read_bytes())
    with (
        pytest.raises(TamperError, match="the registry was founded by the key"),
        open_registry(local.registry.folder).view(),
    ):
        pass


def test_log_is_founded_by_the_key_that_signed_it(local: Team, tmp_path: Path) -> None:
    tampered(local.registry, "DELETE FROM event")
    eve = make_key(tmp_path / "eve.pem")
    other = found_registry(tmp_path / "other", "eve", eve)
    insert_rows(local.registry, rows(other)[0])
    forget(local.registry)
    with pytest.raises(TamperError, match="the registry was founded by the key"), local.registry.view():
        pass


def test_full_database_is_said_and_nothing_is_lost(local: Team) -> None:
    released(local)
    engine = local.registry.engine
    with engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    engine.dispose()

    @event.listens_for(engine, "connect")
    def limit(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(RegistryError, match="database or disk is full"):
        label(local.registry, local["ann"], NAME, {"a": "b" * 100_000})
    engine.dispose()
    event.remove(engine, "connect", limit)
    assert verify(local.registry).sound
    with local.registry.view() as state:
        assert state.labels[NAME] == {}


def test_facts_are_all_or_none(team: Team) -> None:
    release = released(team)
    move = release.identity | {"channel": "staging", "generation": 1, "how": "promotion"}

    def twice() -> None:
        with team.registry.writer(team["sam"]) as writer:
            writer.append(Labelled(adapter=NAME, labels={"a": "b"}))
            assert writer.state.labels[NAME] == {"a": "b"}
            writer.append(Moved.model_validate(move | {"policy": "0" * 64}))

    with pytest.raises(RegistryError, match="the policy is"):
        twice()
    with team.registry.view() as state:
        assert (state.labels[NAME], state.head.sequence) == ({}, 7)
    assert verify(team.registry).sound


def test_who_was_second_is_told(local: Team) -> None:
    with local.registry.writer(local["ann"]) as writer:
        state = writer.state
        writer.append(policy_fact(Policy(channels={"*": Rule()})))
        writer.state = type(state)(state.registry, state.founder)
        writer.state.head, writer.state.identities = state.head._replace(sequence=6), state.identities
        writer.state.clock = state.clock
        with pytest.raises(BusyError, match="another process was first"):
            writer.append(policy_fact(Policy(channels={"*": Rule()})))


def test_reader_sees_one_state_while_another_writes(team: Team) -> None:
    with team.registry.view() as state:
        before = state.head
        release = released(team)
        assert state.head == before
        assert release.name not in state.releases
    with team.registry.view() as state:
        assert release.name in state.releases


def test_who_waits_too_long_is_told(local: Team) -> None:
    impatient = create_engine(local.registry.engine.url, connect_args={"timeout": 0.1})
    with (
        local.registry.writer(local["ann"]),
        pytest.raises(BusyError, match="another process has been writing"),
        database.reached(impatient),
        impatient.connect() as connection,
    ):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def test_what_it_says_to_do_is_said() -> None:
    assert MEND.endswith(".")
    assert Revoked(adapter="a", number=1, digest="0" * 64, reason="x").told == "a@1 is REVOKED: x"
