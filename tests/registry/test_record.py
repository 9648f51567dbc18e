"""The record: signed, chained, refused when it was changed, and one writer at a time."""

import json
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError
from worldtune.registry.record import MEND, Writer
from worldtune.registry.tables import METADATA

from worldtune.errors import BusyError, RegistryError, TamperError
from worldtune.registry import database
from worldtune.registry.add import add
from worldtune.registry.facts import (
    FACTS,
    Approved,
    ClockSet,
    Derived,
    Evaluated,
    Expected,
    Labelled,
    Moved,
    Published,
    Released,
    Retired,
    Revoked,
    Withdrawn,
)  # fmt: skip
from worldtune.registry.heads import check_head, write_head
from worldtune.registry.keys import make_key
from worldtune.registry.labels import label
from worldtune.registry.registry import found_registry, open_registry
from worldtune.registry.releases import resolve
from worldtune.registry.verify import verify

from .conftest import NAME, Team

TABLES = ("event", *(fact.kind for fact in FACTS))


@pytest.mark.parametrize("change", ["UPDATE {} SET sequence = sequence", "DELETE FROM {}"])
def test_the_database_itself_refuses_to_change_what_is_there(team: Team, change: str) -> None:
    _one_of_every_kind(team)
    for table in TABLES:
        with (
            pytest.raises(DBAPIError, match="what is in the record is not changed"),
            team.registry.engine.begin() as connection,
        ):
            connection.execute(text(change.format(table)))
    assert verify(team.registry).events > len(FACTS)


def test_every_table_has_the_columns_of_its_fact(team: Team) -> None:
    with team.registry.view() as view:
        context = MigrationContext.configure(view.connection)
        assert compare_metadata(context, METADATA) == []


def released(team: Team) -> Released:
    return add(team.registry, team["sam"], NAME, team.another()).fact


def _one_of_every_kind(team: Team) -> None:
    """Besides those with which a registry begins."""
    release = released(team)
    of = {"adapter": NAME, "number": 1, "digest": release.digest}
    zeros, later = "0" * 64, "2999-01-01T00:00:00.000000Z"
    judged = {"base": zeros, "suite": zeros, "gates": zeros, "results": zeros, "candidate": "a", "outcome": "pass"}
    moved = {"channel": "staging", "generation": 1, "how": "promotion", "policy": zeros}
    for person, fact in (
        ("ann", Expected(scope=NAME, what="base", digest=zeros, reason="a")),
        ("sam", Labelled(adapter=NAME, labels={"a": "b"})),
        ("eva", Evaluated.model_validate(of | judged | {"person": "eva", "expires": later})),
        ("bob", Approved(**of, person="bob", channel="staging", policy=zeros, reason="a", expires=later)),
        ("bob", Withdrawn(**of, channel="staging", reason="a")),
        ("sam", Moved.model_validate(of | moved)),
        ("bob", Revoked(**of, reason="a")),
        ("sam", Derived(what="dataset", name="a", digest=zeros, sources=(release.digest,))),
        ("sam", Published(**of, where="a", revision="b")),
        ("ann", Retired(person="bea", key=team["bea"].public_key.keyid, reason="a")),
        ("ann", ClockSet(ahead=later.replace("2999", "2026"), reason="a")),
    ):
        with team.registry.writer(team[person]) as writer:
            writer.append(fact)


def _tampered(team: Team, *commands: str) -> None:
    """As somebody does it who owns the database: without its triggers."""
    with team.registry.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
        else:
            for name in (
                connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            ):
                connection.execute(text(f"DROP TRIGGER {name}"))
        for command in commands:
            connection.execute(text(command))


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("UPDATE released SET digest = '{0}' WHERE number = 1", "of released was changed: digest"),
        ("UPDATE released SET author = 'nobody' WHERE number = 1", "of released was changed: author"),
        ("DELETE FROM released WHERE number = 1", "of released is missing"),
        ("UPDATE event SET actor = 'eve' WHERE kind LIKE '%released%'", "the row is not what was signed"),
        ("UPDATE event SET at = '2020-01-01T00:00:00.000000Z' WHERE sequence = 2", "the row is not what was signed"),
        ("UPDATE event SET hash = '{0}' WHERE sequence = 3", "its bytes are not those of its hash"),
        ("UPDATE event SET envelope = replace(envelope, 'a', 'b') WHERE sequence = 3", "not those of its hash"),
        ("UPDATE event SET kind = 'urn:worldtune:registry:revoked:1' WHERE sequence = 3", "not what was signed"),
    ],
)
def test_a_row_that_was_changed_is_named(team: Team, command: str, fault: str) -> None:
    released(team)
    assert verify(team.registry).sound
    _tampered(team, command.format("0" * 64))
    try:
        faults = verify(team.registry).faults
    except TamperError as error:  # where the keys themselves are in what was changed, nothing else can be read
        faults = [str(error)]
    assert any(fault in each for each in faults), faults


def test_an_event_that_was_taken_out_is_missed(team: Team) -> None:
    released(team)
    label(team.registry, team["sam"], NAME, {"robot": "so101"})
    _tampered(team, "DELETE FROM released", "DELETE FROM event WHERE kind LIKE '%:released:%'")
    assert any("the chain is broken" in each for each in verify(team.registry).faults)
    with pytest.raises(TamperError, match="events, and the newest is number"):
        label(team.registry, team["sam"], NAME, {"robot": "so102"})


def test_a_record_that_was_cut_short_is_known_by_who_saw_it(team: Team, tmp_path: Path) -> None:
    write_head(team.registry, team["ann"], tmp_path / "head.json")
    released(team)
    release = "SELECT max(sequence) FROM event"
    _tampered(
        team, f"DELETE FROM released WHERE sequence = ({release})", f"DELETE FROM event WHERE sequence = ({release})"
    )
    with pytest.raises(TamperError, match="that this machine saw is not in the record any more"):
        verify(team.registry)
    (team.registry.folder / "seen.json").unlink()
    assert verify(team.registry).sound  # nothing inside shows it
    assert check_head(team.registry, tmp_path / "head.json").sequence > 1  # nor does a head from before


def test_a_signed_head_tells_of_a_chain_that_was_built_anew(team: Team, tmp_path: Path) -> None:
    released(team)
    head = write_head(team.registry, team["ann"], tmp_path / "head.json")
    assert check_head(team.registry, tmp_path / "head.json") == head
    last = f"sequence = {head.sequence}"
    (team.registry.folder / "seen.json").unlink()
    _tampered(team, f"DELETE FROM released WHERE {last}", f"DELETE FROM event WHERE {last}")
    released(team)
    with pytest.raises(TamperError, match=f"the event {head.sequence} is not what ann signed"):
        check_head(team.registry, tmp_path / "head.json")
    forged = json.loads((tmp_path / "head.json").read_text())
    forged["payload"] = forged["payload"][:-8] + "AAAAAAA="
    (tmp_path / "head.json").write_text(json.dumps(forged))
    with pytest.raises(RegistryError):
        check_head(team.registry, tmp_path / "head.json")


def test_a_row_without_an_event_counts_for_nothing(team: Team) -> None:
    """Somebody writes themselves a release into the index."""
    released(team)
    columns = ", ".join(Released.model_fields)
    chosen = ", ".join("7" if name == "number" else name for name in Released.model_fields)
    where = "FROM released WHERE number = 1"
    _tampered(team, f"INSERT INTO released (sequence, {columns}) SELECT 1, {chosen} {where}")
    assert any("of released was signed by nobody" in each for each in verify(team.registry).faults)
    with team.registry.view() as view, pytest.raises(TamperError, match="is not what was signed"):
        resolve(view, f"{NAME}@7")


def test_another_registry_in_its_place_is_not_taken(local: Team, tmp_path: Path) -> None:
    """The whole database is swapped for one that somebody else founded."""
    other = found_registry(tmp_path / "other", "eve", make_key(tmp_path / "eve.pem"))
    other.record.engine.dispose()
    for name in ("record.db", "record.db-wal", "record.db-shm"):
        (local.registry.folder / name).unlink(missing_ok=True)
    (local.registry.folder / "seen.json").unlink()
    (local.registry.folder / "record.db").write_bytes((tmp_path / "other" / "record.db").read_bytes())
    with (
        pytest.raises(TamperError, match="the record was founded by the key"),
        open_registry(local.registry.folder).view(),
    ):
        pass


def test_a_full_database_is_said_and_nothing_is_lost(local: Team) -> None:
    engine = local.registry.engine
    with engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    engine.dispose()

    @event.listens_for(engine, "connect")
    def limit(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(RegistryError, match="database or disk is full"):
        _fill(local)
    engine.dispose()
    event.remove(engine, "connect", limit)
    assert verify(local.registry).sound


def _fill(team: Team) -> None:
    with team.registry.writer(team["ann"]) as writer:
        writer.append(Labelled(adapter=NAME, labels={"a": "b" * 100_000}))


def _twice(writer: Writer) -> None:
    move = {"adapter": NAME, "number": 1, "digest": "0" * 64, "channel": "staging", "generation": 1}
    for _ in range(2):
        writer.append(Moved.model_validate(move | {"how": "promotion", "policy": "0" * 64}))


def test_facts_are_all_or_none(team: Team) -> None:
    with pytest.raises(BusyError), team.registry.writer(team["ann"]) as writer:
        _twice(writer)
    with team.registry.view() as view:
        assert view.facts(Moved) == []
    assert verify(team.registry).sound


def test_a_reader_sees_one_state_while_another_writes(team: Team) -> None:
    with team.registry.view() as view:
        before = view.head()
        released(team)
        assert view.head() == before
        assert view.facts(Released) == []
    with team.registry.view() as view:
        assert len(view.facts(Released)) == 1


def test_who_waits_too_long_is_told(local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
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
