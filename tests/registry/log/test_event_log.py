"""The event log: signed, chained, refused when it was changed, and one writer at a time."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

from worldtune.errors import BusyError, RegistryError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry import database
from worldtune.registry.facts import Labelled, Moved, Revoked
from worldtune.registry.keys import make_key
from worldtune.registry.labels import label
from worldtune.registry.log.event_log import MEND
from worldtune.registry.manifest import canonical
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.registry import found_registry, open_registry, policy_fact
from worldtune.registry.statements import PAYLOAD
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import Row, faults_of, forget, insert_rows, resolved, rogue, rows, tampered
from ..prepared import released


@pytest.mark.parametrize("change", ["UPDATE event SET sequence = sequence", "DELETE FROM event"])
def test_database_itself_refuses_to_change_what_is_there(team: Team, change: str) -> None:
    released(team)
    with (
        pytest.raises(DBAPIError, match="what is in the log is not changed"),
        team.registry.engine.begin() as connection,
    ):
        connection.execute(text(change))
    assert verify(team.registry).events == 7


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


# A signed statement in its canonical form, and all fields of an event but for what they should be.
STATED = b'{"_type":"https://in-toto.io/Statement/v1","predicate":%s,"predicateType":"x","subject":[]}'
FIELDS = b'{"actor":[],"at":{},"fact":0,"previous":1,"registry":{},"sequence":[]}'


@pytest.mark.parametrize(
    "payload",
    [
        STATED % rb'{"fact":"\ud800"}',
        STATED % (b'{"fact":' + b"9" * 5000 + b"}"),
        STATED % b"{}",
        STATED.replace(b'"x"', b"[]") % FIELDS,
        STATED.replace(b'"x"', b"{}") % FIELDS,
        STATED.replace(b'"x"', b"null") % FIELDS,
        STATED % b'{"fact":NaN}',
        b"[]",
        b"",
        b"\xff",
    ],
)
def test_statement_of_no_form_is_one_line_though_it_is_signed(local: Team, payload: bytes) -> None:
    release = released(local)
    envelope = Envelope(payload=payload, payload_type=PAYLOAD, signatures={})
    envelope.sign(local["sam"])
    content = canonical(envelope.to_dict())
    insert_rows(local.registry, Row(8, digest_bytes(content), content.decode()))
    with pytest.raises(RegistryError):
        resolved(local.registry, release.name)
    assert "[event 8]" in faults_of(local)


@pytest.mark.parametrize("value", ["x'00ff'", "CAST(x'ff' AS TEXT)", "5", "x'7b7d'"])
def test_envelope_that_is_no_text_is_one_line(local: Team, value: str) -> None:
    release = released(local)
    with local.registry.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO event VALUES (8, 'x', {value})"))
    with pytest.raises(RegistryError):
        resolved(local.registry, release.name)
    with suppress(RegistryError):  # SQLite itself cannot give it
        assert not verify(local.registry).sound


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
        ({"kind": ["founded"]}, "a kind that this worldtune does not know"),
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
