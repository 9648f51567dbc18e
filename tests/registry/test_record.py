"""The record: signed, chained, refused when it was changed, and one writer at a time."""

import json
import multiprocessing
import tarfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

from worldtune.errors import BusyError, RegistryError, TamperError
from worldtune.registry import clock, database
from worldtune.registry.add import add
from worldtune.registry.enrolment import enrol, retire, set_clock
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
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.labels import label
from worldtune.registry.record import MEND, Writer
from worldtune.registry.registry import found_registry, join_registry, open_registry
from worldtune.registry.releases import resolve
from worldtune.registry.tables import METADATA, SCHEMA
from worldtune.registry.verify import verify

from .conftest import NAME, Team

TABLES = ("event", *(fact.kind for fact in FACTS))


@pytest.mark.parametrize("change", ["UPDATE {} SET sequence = sequence", "DELETE FROM {}"])
def test_the_database_itself_refuses_to_change_what_is_there(team: Team, change: str) -> None:
    _one_of_every_kind(team)
    for table in TABLES:
        with (
            pytest.raises(DBAPIError, match="what is in the record is not changed"),
            team.registry.record.engine.begin() as connection,
        ):
            connection.execute(text(change.format(table)))
    assert verify(team.registry).events > len(FACTS)


def test_every_table_has_the_columns_of_its_fact(team: Team) -> None:
    with team.registry.view() as view:
        context = MigrationContext.configure(view.connection)
        assert compare_metadata(context, METADATA) == []


def _released(team: Team) -> Released:
    return add(team.registry, team["sam"], NAME, team.another()).fact


def _one_of_every_kind(team: Team) -> None:
    """Besides those with which a registry begins."""
    release = _released(team)
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
    with team.registry.record.engine.begin() as connection:
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
    _released(team)
    assert verify(team.registry).sound
    _tampered(team, command.format("0" * 64))
    try:
        faults = verify(team.registry).faults
    except TamperError as error:  # where the keys themselves are in what was changed, nothing else can be read
        faults = [str(error)]
    assert any(fault in each for each in faults), faults


def test_an_event_that_was_taken_out_is_missed(team: Team) -> None:
    _released(team)
    label(team.registry, team["sam"], NAME, {"robot": "so101"})
    _tampered(team, "DELETE FROM released", "DELETE FROM event WHERE kind LIKE '%:released:%'")
    assert any("the chain is broken" in each for each in verify(team.registry).faults)
    with pytest.raises(TamperError, match="events, and the newest is number"):
        label(team.registry, team["sam"], NAME, {"robot": "so102"})


def test_a_record_that_was_cut_short_is_known_by_who_saw_it(team: Team, tmp_path: Path) -> None:
    write_head(team.registry, team["ann"], tmp_path / "head.json")
    _released(team)
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
    _released(team)
    head = write_head(team.registry, team["ann"], tmp_path / "head.json")
    assert check_head(team.registry, tmp_path / "head.json") == head
    last = f"sequence = {head.sequence}"
    (team.registry.folder / "seen.json").unlink()
    _tampered(team, f"DELETE FROM released WHERE {last}", f"DELETE FROM event WHERE {last}")
    _released(team)
    with pytest.raises(TamperError, match=f"the event {head.sequence} is not what ann signed"):
        check_head(team.registry, tmp_path / "head.json")
    forged = json.loads((tmp_path / "head.json").read_text())
    forged["payload"] = forged["payload"][:-8] + "AAAAAAA="
    (tmp_path / "head.json").write_text(json.dumps(forged))
    with pytest.raises(RegistryError):
        check_head(team.registry, tmp_path / "head.json")


def test_a_row_without_an_event_counts_for_nothing(team: Team) -> None:
    """Somebody writes themselves a release into the index."""
    _released(team)
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


class TestWhoMay:
    def test_a_key_that_nobody_enrolled_writes_nothing(self, team: Team, tmp_path: Path) -> None:
        stranger = make_key(tmp_path / "eve.pem")
        with pytest.raises(RegistryError, match="nobody here has the key"):
            add(team.registry, stranger, NAME, team.another())
        assert list(team.registry.store.digests()) == []

    def test_roles_are_held_to(self, team: Team) -> None:
        with pytest.raises(RegistryError, match="eva is evaluator, and it takes submitter or admin"):
            add(team.registry, team["eva"], NAME, team.another())
        with pytest.raises(RegistryError, match="bob is approver, and it takes admin"):
            enrol(
                team.registry,
                team["bob"],
                "x",
                public_path(team.registry.folder / "keys" / "sam.pem"),
                ("admin",),
                None,
            ) if False else retire(team.registry, team["bob"], team["sam"].public_key.keyid, "no")

    def test_an_expired_key_signs_no_more_and_what_it_signed_stays(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = add(team.registry, team["sam"], NAME, team.another()).fact
        later = clock.now() + timedelta(days=366)
        monkeypatch.setattr(clock, "now", lambda: later)
        with pytest.raises(RegistryError, match="the key of sam expired on"):
            add(team.registry, team["sam"], NAME, team.another())
        assert verify(team.registry).sound
        with team.registry.view() as view:
            assert view.facts(Released, digest=release.digest)[0].fact == release

    def test_a_retired_key_signs_no_more(self, team: Team) -> None:
        add(team.registry, team["sam"], NAME, team.another())
        retire(team.registry, team["ann"], team["sam"].public_key.keyid[:12], "left")
        with pytest.raises(RegistryError, match="the key of sam was retired on"):
            add(team.registry, team["sam"], NAME, team.another())
        assert verify(team.registry).sound
        with pytest.raises(RegistryError, match="this key is enrolled already, as sam's"):
            enrol(
                team.registry,
                team["ann"],
                "sam",
                public_path(team.registry.folder / "keys/sam.pem"),
                ("admin",),
                None,
            )

    def test_of_a_stolen_key_nothing_counts(self, team: Team) -> None:
        add(team.registry, team["sam"], NAME, team.another())
        retire(team.registry, team["ann"], team["sam"].public_key.keyid, "stolen", stolen=True)
        with team.registry.view() as view, pytest.raises(RegistryError, match="it was released by a stolen key"):
            resolve(view, f"{NAME}@1")

    def test_the_last_administrator_stays(self, team: Team) -> None:
        with pytest.raises(RegistryError, match="nobody would be left to administer"):
            retire(team.registry, team["ann"], team["ann"].public_key.keyid, "bye")


class TestTime:
    def test_a_clock_that_was_set_back_stops_the_writing(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        _released(team)
        earlier = clock.now() - timedelta(hours=1)
        monkeypatch.setattr(clock, "now", lambda: earlier)
        with pytest.raises(RegistryError, match="Set this clock right"):
            label(team.registry, team["sam"], NAME, {"a": "b"})

    def test_clocks_of_two_machines_may_differ_a_little_and_time_never_goes_back(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = add(team.registry, team["sam"], NAME, team.another())
        earlier = clock.time_of(before.at) - timedelta(seconds=30)
        monkeypatch.setattr(clock, "now", lambda: earlier)
        assert label(team.registry, team["sam"], NAME, {"a": "b"}).at == before.at

    def test_a_clock_that_was_ahead_is_set_right_by_an_administrator_and_nobody_else(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = clock.now()
        with monkeypatch.context() as wrong:
            wrong.setattr(clock, "now", lambda: real + timedelta(days=300))
            _released(team)
        with pytest.raises(RegistryError, match="have an administrator run `registry clock`"):
            label(team.registry, team["sam"], NAME, {"a": "b"})
        with pytest.raises(RegistryError, match="bob is approver, and it takes admin"):
            set_clock(team.registry, team["bob"], "it was 2027")
        assert set_clock(team.registry, team["ann"], "it was 2027").at < clock.text_of(real + timedelta(days=1))
        assert label(team.registry, team["sam"], NAME, {"a": "b"}).at < clock.text_of(real + timedelta(days=1))
        assert verify(team.registry).faults == []
        with pytest.raises(RegistryError, match="not ahead of this machine's clock"):
            set_clock(team.registry, team["ann"], "once more")

    def test_a_clock_is_not_set_back_before_the_registry_began(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clock, "now", lambda: clock.time_of("1970-01-02T00:00:00.000000Z"))
        with pytest.raises(RegistryError, match="and the registry was founded on"):
            set_clock(team.registry, team["ann"], "the battery was dead")

    def test_a_key_that_expired_does_not_make_itself_valid_again(
        self, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dan = make_key(tmp_path / "dan.pem")
        enrol(team.registry, team["ann"], "dan", public_path(tmp_path / "dan.pem"), ("admin",), "1d")
        real = clock.now()
        monkeypatch.setattr(clock, "now", lambda: real + timedelta(days=2))
        _released(team)
        monkeypatch.setattr(clock, "now", lambda: real + timedelta(hours=1))
        with pytest.raises(RegistryError, match="the key of dan expires, and the clock is set by one that does not"):
            set_clock(team.registry, dan, "it is yesterday")

    def test_an_event_older_than_the_one_before_is_a_fault_without_that(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _released(team)
        earlier = clock.text_of(clock.now() - timedelta(days=1))
        monkeypatch.setattr("worldtune.registry.record.time_after", lambda last: earlier)
        label(team.registry, team["sam"], NAME, {"a": "b"})
        assert any("it is older than the event before" in fault for fault in verify(team.registry).faults)


class TestBeginning:
    def test_a_second_registry_in_the_same_place_is_refused(self, local: Team) -> None:
        with pytest.raises(RegistryError, match="there is a registry here already"):
            found_registry(local.registry.folder, "ann", local["ann"])

    def test_a_founding_that_was_cut_off_is_done_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        key = make_key(tmp_path / "ann.pem")
        with monkeypatch.context() as patch:
            patch.setattr("worldtune.registry.registry._opened", killed)
            with pytest.raises(KeyboardInterrupt):
                found_registry(tmp_path / "r", "ann", key)
        assert verify(found_registry(tmp_path / "r", "ann", key)).sound

    def test_two_processes_begin_at_once_and_one_makes_the_tables(self, database: str, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            done = pool.starmap(_migrate, [(database, str(tmp_path / "r"))] * 2, chunksize=1)
        assert done == [SCHEMA] * 2

    def test_a_newer_schema_is_refused(self, team: Team) -> None:
        with team.registry.record.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
        with pytest.raises(RegistryError, match=f"of a newer schema, 0099; this worldtune knows {SCHEMA}"):
            open_registry(team.registry.folder)

    def test_a_registry_of_the_first_schema_is_brought_up_and_is_sound(self, tmp_path: Path) -> None:
        with tarfile.open(Path(__file__).parent / "data" / "schema-0001.tar.xz") as tar:
            tar.extractall(tmp_path, filter="data")
        registry = open_registry(tmp_path)
        found = verify(registry)
        assert (found.faults, found.events, found.releases) == ([], 12, 2)
        with registry.view() as view:
            assert database.schema_of(view.connection) == SCHEMA
            assert compare_metadata(MigrationContext.configure(view.connection), METADATA) == []
            with pytest.raises(RegistryError, match="cell7/front/pick@2 is revoked: bad"):
                resolve(view, f"{NAME}@staging")
        with (
            pytest.raises(DBAPIError, match="what is in the record is not changed"),
            registry.record.engine.begin() as connection,
        ):
            connection.execute(text("DELETE FROM revoked"))

    def test_another_machine_joins_by_the_founders_key(self, team: Team, tmp_path: Path) -> None:
        place = team.registry.place
        store = str(team.registry.folder)
        database_url = place.database
        founder = team["ann"].public_key.keyid
        with pytest.raises(TamperError, match="it was founded by the key"):
            join_registry(tmp_path / "joined", "0" * 12, database_url, store)
        joined = join_registry(tmp_path / "joined", founder[:12], database_url, store)
        release = add(team.registry, team["sam"], NAME, team.another()).fact
        with joined.view() as view:
            assert [event.fact for event in view.facts(Released)] == [release]
        assert verify(joined).sound

    def test_where_there_is_none_the_mend_says_how_to_begin(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="there is no registry here"):
            open_registry(tmp_path)

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("mysql://here/x", "mysql is no database that is used"),
            ("nonsense", "Could not parse"),
            ("postgresql+psycopg://ann:secret@db/x", "holds a password"),
        ],
    )
    def test_a_database_that_is_none_is_refused(self, tmp_path: Path, url: str, why: str) -> None:
        with pytest.raises(RegistryError, match=why) as error:
            found_registry(tmp_path / "r", "ann", make_key(tmp_path / "k"), url)
        assert "secret" not in str(error.value)

    def test_a_database_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="the record cannot be used"):
            found_registry(tmp_path / "r", "ann", make_key(tmp_path / "k"), "postgresql+psycopg://ann@127.0.0.1:9/x")


def _migrate(url: str, folder: str) -> str | None:
    engine = database.engine_of(url)
    database.migrate(engine, Path(folder))
    with database.reading(engine) as connection:
        return database.schema_of(connection)


def test_a_full_database_is_said_and_nothing_is_lost(local: Team) -> None:
    engine = local.registry.record.engine
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
        _released(team)
        assert view.head() == before
        assert view.facts(Released) == []
    with team.registry.view() as view:
        assert len(view.facts(Released)) == 1


def test_who_waits_too_long_is_told(local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = create_engine(local.registry.record.engine.url, connect_args={"timeout": 0.1})
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
