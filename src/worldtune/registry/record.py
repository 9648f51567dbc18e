"""The record: signed events in a chain, each of which holds the hash of the one before.

An event is a DSSE envelope around an in-toto statement; its hash is that of the envelope's bytes. What decides
something (promotion, resolution) reads facts from envelopes whose signatures hold, never from the rows that index
them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from securesystemslib.signer import CryptoSigner
from sqlalchemy import ColumnElement, Connection, Engine, Row, Table, func, insert, select
from sqlalchemy.exc import IntegrityError

from worldtune.errors import BusyError, RecipeError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry import database
from worldtune.registry.clock import time_after, time_here
from worldtune.registry.facts import BY_KIND, KIND, ClockSet, Enrolled, Fact, Founded, Retired, Revoked, Withdrawn
from worldtune.registry.people import Holder, People
from worldtune.registry.statements import opened, said, sign, signed_by, statement
from worldtune.registry.tables import EVENTS, TABLES, row_of
from worldtune.strict import parse

F = TypeVar("F", bound=Fact)
START = "0" * 64
TAKING: tuple[type[Fact], ...] = (Revoked, Withdrawn, Retired)
MEND = "The record was changed from outside: bring it back from a copy, and compare it with a signed head."


@dataclass(frozen=True)
class Event(Generic[F]):
    """One event: its place in the chain, when, who (a person, by which of their keys), what, and its hash."""

    sequence: int
    at: str
    actor: str
    key: str
    fact: F
    hash: str


class Stored(NamedTuple):
    """One event as it stands in the table, whatever it is worth."""

    sequence: int
    at: str
    actor: str
    kind: str
    hash: str
    envelope: str


@dataclass(frozen=True)
class Head:
    """The newest event's place, hash and time."""

    sequence: int
    hash: str
    at: str | None


@dataclass
class Known:
    """People as the events of these hashes made them, and what of theirs took something away.

    What was checked once is not checked again.
    """

    hashes: tuple[str, ...] = ()
    people: People = field(default_factory=People)
    taking: dict[Stored, Event[Any]] = field(default_factory=dict)


class View:
    """What is in the record of `registry`, from one transaction; the key `founder` must have signed its first event."""

    def __init__(self, connection: Connection, founder: str, registry: str, known: Known | None = None) -> None:
        self.connection = connection
        self.founder = founder
        self.registry = registry
        self.known = known or Known()
        self.people = self._people(self.known)

    def head(self) -> Head:
        """The newest event's; that of an empty record is the start."""
        row = self.connection.execute(
            select(EVENTS.c.sequence, EVENTS.c.hash, EVENTS.c.at).order_by(EVENTS.c.sequence.desc()).limit(1)
        ).first()
        return Head(*row) if row else Head(0, START, None)

    def rows(self, kind: type[Fact], *where: ColumnElement[bool], **equal: Any) -> Sequence[Row[Any]]:
        """Rows of an index as they stand, in order: to find and to list, not to decide by."""
        table = TABLES[kind]
        query = select(table).where(*where, *_equal(table, equal)).order_by(table.c.sequence)
        return self.connection.execute(query).all()

    def facts(self, kind: type[F], *where: ColumnElement[bool], **equal: Any) -> list[Event[F]]:
        """Facts of a kind, in order, each from an envelope whose signature holds and as its row says.

        Raises TamperError when one is not so. What stolen keys let in is left out; what they took away stays away.
        """
        if kind in TAKING:
            return self._takings(kind, equal)
        found = self._indexed(kind, *where, *_equal(TABLES[kind], equal))
        return [event for event in found if not self.people.holders[event.key].stolen]

    def _takings(self, kind: type[F], equal: dict[str, Any]) -> list[Event[F]]:
        """All of the kind are looked at: a row that was changed would not be found by what it was."""
        self._refuse_missing(kind)
        found = self._indexed(kind)
        return [event for event in found if all(getattr(event.fact, name) == value for name, value in equal.items())]

    def _indexed(self, kind: type[F], *where: ColumnElement[bool]) -> Iterator[Event[F]]:
        """The events that rows of an index stand for."""
        table = TABLES[kind]
        query = select(table, EVENTS).join(EVENTS, EVENTS.c.sequence == table.c.sequence, isouter=True)
        for row in self.connection.execute(query.where(*where).order_by(table.c.sequence)).all():
            index = dict(zip(table.c.keys(), row[: len(table.c)], strict=True))
            stored, sequence = Stored(*row[len(table.c) :]), index["sequence"]
            if stored.sequence is None:
                raise TamperError(f"the event {sequence} is missing", where="record", mend=MEND)
            event = self.known.taking.get(stored) or event_of(stored, self.people, self.founder)
            if kind in TAKING:
                self.known.taking[stored] = event
            if not isinstance(event.fact, kind) or row_of(event.fact, sequence) != index:
                what = f"the row {sequence} of {kind.kind} is not what was signed"
                raise TamperError(what, where="record", mend=MEND)
            yield event

    def dated_ahead(self, event: Event[Any]) -> bool:
        """Was it written by a clock that was ahead, as was found out later? Then what expires would for too long."""
        kind = EVENTS.c.kind == KIND.format(ClockSet.kind)
        return any(later.at < event.at for later in self.events(kind, EVENTS.c.sequence > event.sequence))

    def _refuse_missing(self, kind: type[Fact]) -> None:
        """Raises TamperError when the index lacks a row: what is not there could not be missed by its signature."""
        events = select(func.count()).select_from(EVENTS).where(EVENTS.c.kind == KIND.format(kind.kind))
        rows = select(func.count()).select_from(TABLES[kind])
        if not self.connection.execute(select(events.scalar_subquery() == rows.scalar_subquery())).scalar_one():
            raise TamperError(f"rows of {kind.kind} are missing, or too many", where="record", mend=MEND)

    def events(self, *where: ColumnElement[bool]) -> Iterator[Event[Any]]:
        """Events in order, stolen keys' too. Raises TamperError for the first that does not hold."""
        for row in self.connection.execute(select(EVENTS).where(*where).order_by(EVENTS.c.sequence)).all():
            yield event_of(Stored(*row), self.people, self.founder)

    def envelope(self, sequence: int) -> bytes:
        """An event as it was signed."""
        query = select(EVENTS.c.envelope).where(EVENTS.c.sequence == sequence)
        return self.connection.execute(query).scalar_one().encode()

    def _people(self, known: Known) -> People:
        """Who may sign, from events each of which is checked by the people known before it."""
        about = [KIND.format(kind.kind) for kind in (Founded, Enrolled, Retired)]
        of_people = EVENTS.c.kind.in_(about)
        query = select(EVENTS.c.hash).where(of_people).order_by(EVENTS.c.sequence)
        hashes = tuple(self.connection.execute(query).scalars())
        if known.hashes != hashes:
            people = People()
            for row in self.connection.execute(select(EVENTS).where(of_people).order_by(EVENTS.c.sequence)).all():
                event = event_of(Stored(*row), people, self.founder)
                people.learn(event.fact, event.at, event.sequence, event.key)
            known.hashes, known.people, known.taking = hashes, people, {}
        return People(dict(known.people.holders))

    def count(self) -> int:
        """How many events there are."""
        return self.connection.execute(select(func.count()).select_from(EVENTS)).scalar_one()


def event_of(row: Stored, people: People, founder: str) -> Event[Any]:
    """The event of a row, its envelope opened by the key of its signer.

    Raises TamperError unless the row is what was signed, by somebody who was allowed to at the time.
    """
    where, envelope = f"event {row.sequence}", row.envelope.encode()
    if digest_bytes(envelope) != row.hash:
        raise TamperError("its bytes are not those of its hash", where=where, mend=MEND)
    key_id = signed_by(envelope, where)
    if row.sequence == 1:
        if key_id != founder:
            what = f"the record was founded by the key {key_id[:12]}, not by {founder[:12]}"
            raise TamperError(what, where=where, mend="This is another registry than the one you joined.")
        people = People(dict(people.holders))
        people.learn(_founded(envelope, where), row.at, 1, key_id)
    if key_id not in people.holders:
        raise TamperError(f"it is signed by a key that nobody has, {key_id[:12]}", where=where, mend=MEND)
    holder = people.holders[key_id]
    content = opened(envelope, holder.key, where)
    predicate = content["predicate"]
    stated = (*(predicate.get(name) for name in ("sequence", "at", "actor")), content.get("predicateType"))
    if stated != (row.sequence, row.at, row.actor, row.kind) or row.actor != holder.person:
        raise TamperError("the row is not what was signed", where=where, mend=MEND)
    try:
        fact = parse(BY_KIND[row.kind], predicate.get("fact"), where)
    except (KeyError, RecipeError) as error:
        raise TamperError(f"no fact that is known: {error}", where=where, mend=MEND) from error
    if not isinstance(fact, Founded):
        people.may(holder, fact, row.at, row.sequence, where)
    return Event(row.sequence, row.at, row.actor, key_id, fact, row.hash)


def _founded(envelope: bytes, where: str) -> Founded:
    try:
        return parse(Founded, said(envelope, where)["predicate"].get("fact"), where)
    except RecipeError as error:
        raise TamperError(f"no founding: {error.what}", where=where, mend=MEND) from error


def _equal(table: Table, values: dict[str, Any]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in values.items()]


class Writer(View):
    """A view that the one writer may add to, as the holder of a key."""

    def __init__(
        self,
        connection: Connection,
        founder: str,
        registry: str,
        signer: CryptoSigner,
        known: Known | None = None,
        *,
        clock_was_ahead: bool = False,
    ) -> None:
        super().__init__(connection, founder, registry, known)
        self.signer = signer
        last = self.head()
        if self.count() != last.sequence:
            what = f"{self.count()} events, and the newest is number {last.sequence}"
            raise TamperError(what, where="record", mend=MEND)
        self.at = time_here() if clock_was_ahead else time_after(last.at)

    @property
    def holder(self) -> Holder:
        """Who writes. Raises RegistryError for a key that nobody enrolled."""
        return self.people.holder(self.signer.public_key.keyid, "key")

    def may(self, fact: Fact) -> None:
        """Raises RegistryError unless the writer's key and role allow the fact now."""
        self.people.may(self.holder, fact, self.at, self.head().sequence + 1, fact.kind)

    def append(self, fact: F) -> Event[F]:
        """Sign a fact and put it at the chain's end. Raises RegistryError when the key or its role does not allow it.

        Raises BusyError when another was first with what there can be only one of.
        """
        last = self.head()
        if isinstance(fact, Founded):
            person = fact.person
        else:
            person = self.holder.person
            self.people.may(self.holder, fact, self.at, last.sequence + 1, fact.kind)
        sequence = last.sequence + 1
        predicate = {
            "registry": self.registry, "sequence": sequence, "previous": last.hash, "at": self.at, "actor": person,
            "fact": fact.model_dump(mode="json"),
        }  # fmt: skip
        kind = KIND.format(fact.kind)
        envelope = sign(statement(fact.subject, kind, predicate), self.signer)
        row = {
            "sequence": sequence, "at": self.at, "actor": person, "kind": kind, "hash": digest_bytes(envelope),
            "envelope": envelope.decode(),
        }  # fmt: skip
        try:
            self.connection.execute(insert(EVENTS), row)
            self.connection.execute(insert(TABLES[type(fact)]), row_of(fact, sequence))
        except IntegrityError as error:
            mend = "Look what is there now, and try again."
            raise BusyError("another process was first", where=fact.kind, mend=mend) from error
        self.people.learn(fact, self.at, sequence, self.signer.public_key.keyid)
        return Event(sequence, self.at, person, self.signer.public_key.keyid, fact, str(row["hash"]))


@dataclass(frozen=True)
class Record:
    """A record in a database; `founder` is the id of the key that founded it, `registry` its own id."""

    engine: Engine
    founder: str
    registry: str
    known: Known = field(default_factory=Known)

    @contextmanager
    def view(self) -> Iterator[View]:
        """Read. Raises RegistryError as `database.reading` does."""
        with database.reading(self.engine) as connection:
            yield View(connection, self.founder, self.registry, self.known)

    @contextmanager
    def writer(self, signer: CryptoSigner, *, clock_was_ahead: bool = False) -> Iterator[Writer]:
        """Write: all of the block's facts, or none. Raises RegistryError as `database.writing` does."""
        with database.writing(self.engine) as connection:
            known = self.known
            yield Writer(connection, self.founder, self.registry, signer, known, clock_was_ahead=clock_was_ahead)
