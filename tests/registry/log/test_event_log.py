"""The event log: signed, chained, rejected if it was changed, with one writer at a time."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import digest_bytes
from worldtune.errors import BusyError, RegistryError, TamperError
from worldtune.registry.events.events import ChannelUpdated, Labeled, ReleaseRevoked
from worldtune.registry.log.event_log import LOG_HINT
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.registry import create_registry, make_policy_fact, open_registry
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.signing.dsse import PAYLOAD_TYPE
from worldtune.registry.signing.keys import generate_key
from worldtune.registry.store import database
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import Row, append_unchecked, find_faults, forget_log, insert_rows, read_rows, resolve_digest, tamper
from ..prepared import make_release


@pytest.mark.parametrize("change", ["UPDATE event SET sequence = sequence", "DELETE FROM event"])
def test_database_triggers_forbid_changes(team: Team, change: str) -> None:
    make_release(team)
    with (
        pytest.raises(DBAPIError, match="rows of the event log cannot be changed or deleted"),
        team.registry.engine.begin() as connection,
    ):
        connection.execute(text(change))
    assert verify(team.registry).events == 7


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("UPDATE event SET hash = '{0}' WHERE sequence = 3", "the event's bytes do not match its hash [event 3]"),
        ("UPDATE event SET hash = '' WHERE sequence = 7", "the event's bytes do not match its hash [event 7]"),
        ("UPDATE event SET envelope = replace(envelope, 'a', 'b') WHERE sequence = 3", "match its hash [event 3]"),
        ("UPDATE event SET envelope = '' WHERE sequence = 1", "the event's bytes do not match its hash [event 1]"),
        ("UPDATE event SET sequence = 99 WHERE sequence = 7", "event 7 is missing [event 8]"),
        ("UPDATE event SET sequence = 0 WHERE sequence = 7", "event 7 is missing"),
        ("DELETE FROM event WHERE sequence = 1", "event 1 is missing [event 2]"),
        ("DELETE FROM event WHERE sequence = 4", "event 4 is missing [event 5]"),
        ("DELETE FROM event WHERE sequence IN (5, 6)", "event 5 is missing [event 7]"),
        (
            "UPDATE event SET hash = (SELECT hash FROM event WHERE sequence = 3), envelope = "
            "(SELECT envelope FROM event WHERE sequence = 3) WHERE sequence = 4",
            "the event was signed as event 3 [event 4]",
        ),
    ],
)
def test_changed_row_is_named(team: Team, command: str, fault: str) -> None:
    release = make_release(team)
    update_labels(team.registry, team["sam"], NAME, {"robot": "so101"})
    assert verify(team.registry).is_valid
    tamper(team.registry, command.format("0" * 64))
    assert fault in find_faults(team)
    forget_log(team.registry)
    with pytest.raises(TamperError):
        resolve_digest(team.registry, release.name)
    with pytest.raises(TamperError):
        update_labels(team.registry, team["sam"], NAME, {"robot": "so102"})


def test_rows_after_a_fault_are_counted_but_not_used(local: Team) -> None:
    make_release(local)
    tamper(local.registry, "UPDATE event SET hash = 'x' WHERE sequence = 3")
    found = verify(local.registry)
    assert (found.events, found.head.sequence, found.releases) == (7, 2, 0)
    assert "4 later events cannot be checked [event 4 and later]" in found.faults[1]


def test_row_before_the_first_event_is_named_and_ignored(local: Team) -> None:
    release = make_release(local)
    insert_rows(local.registry, read_rows(local.registry)[6]._replace(sequence=0))
    assert resolve_digest(local.registry, release.name) == release.digest
    assert "1 rows precede the first event" in find_faults(local)


def junk(team: Team, kind: str) -> Row:
    """Return a junk row for the end of the log."""
    last = read_rows(team.registry)[-1]
    place = last.sequence + 1
    texts = {
        "text": "x", "empty": "", "number": "5", "no envelope": '{"signatures": [], "payload": ""}',
        "an earlier event": last.envelope, "deep": "[" * 200_000, "large": "x" * (5 << 20),
    }  # fmt: skip
    return Row(place, digest_bytes(texts[kind].encode()), texts[kind])


@pytest.mark.parametrize("kind", ["text", "empty", "number", "no envelope", "an earlier event", "deep", "large"])
def test_inserted_junk_row_is_named(team: Team, kind: str) -> None:
    """Someone inserts a row, for instance a copy of another."""
    release = make_release(team)
    insert_rows(team.registry, junk(team, kind))
    assert "[event 8]" in find_faults(team)
    for _ in range(2):  # with what this machine verified before, and without
        with pytest.raises(RegistryError):
            resolve_digest(team.registry, release.name)
        forget_log(team.registry)
    tamper(team.registry, "DELETE FROM event WHERE sequence = 8")
    assert resolve_digest(team.registry, release.name) == release.digest
    assert verify(team.registry).is_valid


# A signed statement in canonical form, and all fields of an event with wrong types.
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
def test_signed_malformed_statement_gives_one_line_error(local: Team, payload: bytes) -> None:
    release = make_release(local)
    envelope = Envelope(payload=payload, payload_type=PAYLOAD_TYPE, signatures={})
    envelope.sign(local["sam"])
    content = canonical_json(envelope.to_dict())
    insert_rows(local.registry, Row(8, digest_bytes(content), content.decode()))
    with pytest.raises(RegistryError):
        resolve_digest(local.registry, release.name)
    assert "[event 8]" in find_faults(local)


@pytest.mark.parametrize("value", ["x'00ff'", "CAST(x'ff' AS TEXT)", "5", "x'7b7d'"])
def test_envelope_that_is_not_text_gives_one_line_error(local: Team, value: str) -> None:
    release = make_release(local)
    with local.registry.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO event VALUES (8, 'x', {value})"))
    with pytest.raises(RegistryError):
        resolve_digest(local.registry, release.name)
    with suppress(RegistryError):  # SQLite itself cannot give it
        assert not verify(local.registry).is_valid


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"registry": "0" * 36}, "the event is from another registry"),
        ({"registry": None}, "the event is from another registry"),
        ({"sequence": 7}, "the event was signed as event 7"),
        ({"sequence": "8"}, "the event was signed as event 8"),
        ({"previous": "0" * 64}, "the chain is broken after event 7"),
        ({"actor": "ann"}, "sam signed the event as ann"),
        ({"actor": 5}, "the event has no time or no actor"),
        ({"at": None}, "the event has no time or no actor"),
        ({"kind": "urn:worldtune:registry:registry_created:2"}, "this worldtune does not know the event kind"),
        ({"kind": ["registry_created"]}, "this worldtune does not know the event kind"),
        ({"more": 1}, "the statement is not an event of a registry"),
    ],
)
def test_event_with_a_wrong_header_blocks_the_log(local: Team, changed: dict[str, Any], fault: str) -> None:
    release = make_release(local)
    append_unchecked(local.registry, local["sam"], Labeled(adapter=NAME, labels={"a": "b"}), **changed)
    assert fault in find_faults(local)
    with pytest.raises(TamperError, match=fault):
        resolve_digest(local.registry, release.name)


def test_event_of_an_unknown_key_blocks_the_log(local: Team, tmp_path: Path) -> None:
    release = make_release(local)
    append_unchecked(local.registry, generate_key(tmp_path / "eve.pem"), Labeled(adapter=NAME, labels={"a": "b"}))
    with pytest.raises(TamperError, match="signed by an unknown key"):
        resolve_digest(local.registry, release.name)
    assert "signed by an unknown key" in find_faults(local)


def test_database_of_another_founder_is_rejected(local: Team, tmp_path: Path) -> None:
    """The whole database is replaced by one that someone else created and claims to be this one."""
    other = create_registry(tmp_path / "other", "eve", generate_key(tmp_path / "eve.pem"))
    other.engine.dispose()
    for name in ("log.db", "log.db-wal", "log.db-shm"):
        (local.registry.folder / name).unlink(missing_ok=True)
    forget_log(local.registry)
    (local.registry.folder / "log.db").write_bytes((tmp_path / "other" / "log.db").read_bytes())
    with (
        pytest.raises(TamperError, match="the registry was created by the key"),
        open_registry(local.registry.folder).view(),
    ):
        pass


def test_log_of_another_founder_is_rejected(local: Team, tmp_path: Path) -> None:
    tamper(local.registry, "DELETE FROM event")
    eve = generate_key(tmp_path / "eve.pem")
    other = create_registry(tmp_path / "other", "eve", eve)
    insert_rows(local.registry, read_rows(other)[0])
    forget_log(local.registry)
    with pytest.raises(TamperError, match="the registry was created by the key"), local.registry.view():
        pass


def test_full_database_is_reported_and_loses_nothing(local: Team) -> None:
    make_release(local)
    engine = local.registry.engine
    with engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    engine.dispose()

    @event.listens_for(engine, "connect")
    def limit(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(RegistryError, match="database or disk is full"):
        update_labels(local.registry, local["ann"], NAME, {"a": "b" * 100_000})
    engine.dispose()
    event.remove(engine, "connect", limit)
    assert verify(local.registry).is_valid
    with local.registry.view() as state:
        assert state.labels[NAME] == {}


def test_events_of_one_block_are_all_written_or_none(team: Team) -> None:
    release = make_release(team)
    move = release.identity | {"channel": "staging", "generation": 1, "action": "promotion"}

    def twice() -> None:
        with team.registry.writer(team["sam"]) as writer:
            writer.append(Labeled(adapter=NAME, labels={"a": "b"}))
            assert writer.state.labels[NAME] == {"a": "b"}
            writer.append(ChannelUpdated.model_validate(move | {"policy": "0" * 64}))

    with pytest.raises(RegistryError, match="the policy is"):
        twice()
    with team.registry.view() as state:
        assert (state.labels[NAME], state.head.sequence) == ({}, 7)
    assert verify(team.registry).is_valid


def test_second_writer_gets_busy_error(local: Team) -> None:
    with local.registry.writer(local["ann"]) as writer:
        state = writer.state
        writer.append(make_policy_fact(Policy(channels={"*": ChannelRule()})))
        writer.state = type(state)(state.registry, state.founder)
        writer.state.head, writer.state.identities = state.head._replace(sequence=6), state.identities
        writer.state.clock = state.clock
        with pytest.raises(BusyError, match="another process wrote first"):
            writer.append(make_policy_fact(Policy(channels={"*": ChannelRule()})))


def test_reader_sees_one_snapshot_during_a_write(team: Team) -> None:
    with team.registry.view() as state:
        before = state.head
        release = make_release(team)
        assert state.head == before
        assert release.name not in state.releases
    with team.registry.view() as state:
        assert release.name in state.releases


def test_lock_timeout_is_reported(local: Team) -> None:
    impatient = create_engine(local.registry.engine.url, connect_args={"timeout": 0.1})
    with (
        local.registry.writer(local["ann"]),
        pytest.raises(BusyError, match="another process has been writing"),
        database.database_errors(impatient),
        impatient.connect() as connection,
    ):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def test_hint_and_summary_texts() -> None:
    assert LOG_HINT.endswith(".")
    assert ReleaseRevoked(adapter="a", number=1, digest="0" * 64, reason="x").summary == "a@1 is REVOKED: x"
