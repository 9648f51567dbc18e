"""A registry: where its log and its bytes are, and which key founded it.

`registry.json` in a folder of this machine says so. By default log and bytes are beside it, and nothing needs to
run; several machines share a registry whose log is in PostgreSQL and whose bytes are in an object store.
"""

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field
from securesystemslib.signer import CryptoSigner
from sqlalchemy import URL, Connection, Engine, func, select

from worldtune.errors import RecipeError, RegistryError, TamperError, UserError
from worldtune.files import locked, make_folder, write_json
from worldtune.registry.database import engine_of, migrate, reading, schema_of, writing
from worldtune.registry.facts import Founded, PolicySet, as_fact
from worldtune.registry.keys import public_pem
from worldtune.registry.log.entries import Entries, Note
from worldtune.registry.log.event_log import MEND, Event, Head, verified_history
from worldtune.registry.log.heads import cut_off, keep_seen, read_seen, seen_path
from worldtune.registry.log.replay import replay
from worldtune.registry.log.replica import Replica
from worldtune.registry.log.schema import EVENTS
from worldtune.registry.log.state import State
from worldtune.registry.log.writer import Writer
from worldtune.registry.manifest import parse_json
from worldtune.registry.policy import DEFAULT, Policy
from worldtune.registry.statements import said, signed_by
from worldtune.registry.store import Store
from worldtune.strict import Strict, parse

PLACE = "registry.json"
REGISTRY = "WORLDTUNE_REGISTRY"
Progress = Callable[[int, int], None]


class Place(Strict):
    """What `registry.json` says; a path in it is from its own folder."""

    format: int = 2
    registry: str = Field(pattern=r"^[0-9a-f-]{36}$")
    founder: str = Field(pattern=r"^[0-9a-f]{64}$")
    database: str = "sqlite:///log.db"
    store: str = "."


@dataclass(frozen=True)
class Listener:
    """Who is told what a user should know, and how far a verification is."""

    note: Note = logging.getLogger("worldtune").warning
    on_event: Progress = lambda done, total: None
    on_commit: Callable[[], None] = lambda: None


SILENT = Listener()


@dataclass(frozen=True)
class Registry:
    """An open registry; `from_nothing`: what this machine verified before is not used."""

    folder: Path
    place: Place
    engine: Engine
    store: Store
    listener: Listener = SILENT
    from_nothing: bool = False

    @property
    def seen(self) -> Path:
        """Where this user keeps the newest event that was seen."""
        return seen_path(self.place.registry, self.place.founder)

    @contextmanager
    def view(self) -> Iterator[State]:
        """The state of now, verified. Raises TamperError when the log is not as it was written.

        It is not to be used after the block.
        """
        replica = Replica(self.place.registry, self.place.founder, self.listener.note)
        seen = read_seen(self.seen)  # before the log: what others write meanwhile is in it
        with replica.snapshot() as entries:
            kept = self._kept(replica, entries)
            before = kept.head
            with reading(self.engine) as connection:
                state = self._reduce(connection, kept, seen)
            try:
                yield state
            finally:
                self._keep(replica, entries, before, state)

    @contextmanager
    def writer(self, signer: CryptoSigner, *, clock_was_ahead: bool = False) -> Iterator[Writer]:
        """Write all of the block's facts, or none; `clock_was_ahead`: though the log's time has not come.

        Once they are written nothing fails any more: what this machine cannot remember of them is noted.
        """
        with self.view():  # verify what is new before others have to wait
            pass
        replica = Replica(self.place.registry, self.place.founder, self.listener.note)
        seen = read_seen(self.seen)
        with replica.snapshot() as entries:
            kept = self._kept(replica, entries)
            before = kept.head
            with writing(self.engine) as connection:
                state = self._reduce(connection, kept, seen)
                writer = Writer(connection, state, signer, clock_was_ahead=clock_was_ahead)
                yield writer
            if writer.state.head != state.head:
                self.listener.on_commit()
            self._keep(replica, entries, before, writer.state)

    @contextmanager
    def history(self) -> Iterator[tuple[State, list[Event[Any]]]]:
        """The state, and every event up to it, those without effect too."""
        with self.view() as state, reading(self.engine) as connection:
            yield state, list(verified_history(connection, state.head, self.place.registry))

    def _kept(self, replica: Replica, entries: Entries | None) -> State:
        if self.from_nothing:
            return State(self.place.registry, self.place.founder)
        state = replica.load(entries)
        if entries is not None:
            entries.rebuild = partial(self._rebuilt, state.head)
        return state

    def _rebuilt(self, head: Head) -> State:
        """The state at a head that was verified before, from the first event."""
        state = State(self.place.registry, self.place.founder)
        with reading(self.engine) as connection:
            for _, after in replay(connection, state):
                state = after
                if state.head.sequence == head.sequence:
                    break
        if state.head != head:
            raise cut_off(head.sequence, self.place.database)
        return state

    def _reduce(self, connection: Connection, state: State, seen: Head) -> State:
        """The state after all events. Raises TamperError when one is not what was written, or what was seen lacks."""
        start = state.head
        there = select(EVENTS.c.hash).where(EVENTS.c.sequence == start.sequence).scalar_subquery()
        newest, found = connection.execute(select(func.max(EVENTS.c.sequence), there)).one()
        total = 0 if newest is None else newest
        if not isinstance(total, int):
            raise TamperError("a row has no place that is a number", where=self.place.database, mend=MEND)
        if start.sequence and found != start.hash:
            raise cut_off(start.sequence, self.place.database)
        for event, after in replay(connection, state) if total > start.sequence else ():
            state = after
            if seen.sequence == event.sequence and seen.hash != event.hash:
                raise cut_off(seen.sequence, self.place.database)
            self.listener.on_event(event.sequence - start.sequence, total - start.sequence)
        if seen.sequence > state.head.sequence:
            raise cut_off(seen.sequence, self.place.database)
        return state

    def _keep(self, replica: Replica, entries: Entries | None, before: Head, state: State) -> None:
        if state.head != before or (entries is not None and entries.rebuilt is not None):
            replica.save(entries, state)
            keep_seen(self.seen, state.head, self.listener.note)


def default_folder() -> Path:
    """The folder that WORLDTUNE_REGISTRY names, else `worldtune/registry` in $XDG_DATA_HOME (~/.local/share)."""
    named = os.environ.get(REGISTRY)
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(named) if named else Path(data) / "worldtune" / "registry"


def open_registry(folder: Path | None = None, listener: Listener = SILENT, *, from_nothing: bool = False) -> Registry:
    """The registry of a folder. Raises RegistryError when there is none, or it cannot be used.

    With `from_nothing` every event is verified again, whatever this machine verified before.
    """
    folder = folder or default_folder()
    path = folder / PLACE
    if not path.is_file():
        mend = "Make one by `worldtune registry init`, or name yours by --registry or WORLDTUNE_REGISTRY."
        raise RegistryError("there is no registry here", where=str(folder), mend=mend)
    return _opened(folder, _place_at(path), listener, from_nothing=from_nothing)


def found_registry(
    folder: Path, person: str, signer: CryptoSigner, database: str | None = None, store: str | None = None
) -> Registry:
    """Make a registry, whose first administrator is `person`, with the default policy.

    Raises RegistryError when there is one already, in the folder or in the database.
    """
    place = _place(str(uuid.uuid4()), signer.public_key.keyid, database, store)
    stated = {"registry": place.registry, "person": person, "public": public_pem(signer.public_key)}
    founded = as_fact(Founded, stated)
    make_folder(folder)
    with locked(folder):
        _refuse_second(folder)
        write_json(folder / PLACE, place.model_dump())  # first: were it cut off after, the log would have no place
        try:
            registry = _opened(folder, place)
            with reading(registry.engine) as connection:
                is_taken = connection.execute(select(EVENTS.c.sequence)).first() is not None
            if is_taken:
                mend = "Join it by `worldtune registry join`, or name another database."
                raise RegistryError("there is a registry in this database", where=place.database, mend=mend)
        except UserError:
            (folder / PLACE).unlink()
            raise
        with registry.writer(signer) as writer:
            writer.append(founded)
            writer.append(policy_fact(DEFAULT))
    return registry


def join_registry(folder: Path, founder: str, database: str, store: str) -> Registry:
    """Use a registry that another machine made; `founder` is (the beginning of) the key that it was founded by.

    Raises RegistryError when there is none in the database, TamperError when another key founded it.
    """
    with locked(folder):
        _refuse_second(folder)
        with reading(engine_of(_anchored(database, folder))) as connection:
            query = select(EVENTS.c.envelope).where(EVENTS.c.sequence == 1)
            first = connection.execute(query).scalar_one_or_none() if _has_events(connection) else None
        if first is None:
            raise RegistryError("there is no registry in this database", where=database, mend="Name another.")
        key = signed_by(first.encode(), "event 1")
        if len(founder) < 12 or not key.startswith(founder):
            what = f"it was founded by the key {key}, not by {founder}"
            raise TamperError(what, where=database, mend="Ask its administrator for the founder's key id.")
        place = _place(said(first.encode(), "event 1")["predicate"].get("registry"), key, database, store)
        registry = _opened(folder, place)
        with registry.view():
            write_json(folder / PLACE, place.model_dump())
    return registry


def policy_fact(policy: Policy) -> PolicySet:
    return PolicySet(policy=policy.digest, content=policy.model_dump(mode="json"))


def _has_events(connection: Connection) -> bool:
    return schema_of(connection) is not None


def _place(registry: Any, founder: str, database: str | None, store: str | None) -> Place:
    """Raises TamperError for a registry or a founder that has no such name."""
    given = {name: value for name, value in (("database", database), ("store", store)) if value is not None}
    try:
        return parse(Place, {"registry": registry, "founder": founder, **given}, "event 1")
    except RecipeError as error:
        raise TamperError(f"it founds no registry: {error.what}", where="event 1", mend=MEND) from error


def _refuse_second(folder: Path) -> None:
    path = folder / PLACE
    if not path.exists():
        return
    place = _place_at(path)
    with reading(engine_of(_anchored(place.database, folder))) as connection:
        begun = _has_events(connection) and connection.execute(select(EVENTS.c.sequence)).first() is not None
    if begun:
        raise RegistryError("there is a registry here already", where=str(folder), mend="Use it, or choose another.")


def _place_at(path: Path) -> Place:
    try:
        return parse(Place, parse_json(path.read_bytes(), str(path)), str(path))
    except RecipeError as error:
        raise RegistryError(error.what, where=str(path), mend=error.mend) from error


def _opened(folder: Path, place: Place, listener: Listener = SILENT, *, from_nothing: bool = False) -> Registry:
    engine = engine_of(_anchored(place.database, folder))
    migrate(engine, folder)
    store = place.store if "://" in place.store else str((folder / place.store).absolute())
    return Registry(folder, place, engine, Store(store), listener, from_nothing)


def _anchored(database: str, folder: Path) -> str:
    """A relative file of SQLite is meant from the registry's folder."""
    kind, _, file = database.partition(":///")
    return (
        str(URL.create("sqlite", database=str((folder / file).absolute()))) if kind == "sqlite" and file else database
    )
