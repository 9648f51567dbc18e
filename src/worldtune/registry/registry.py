"""A registry: the location of its log and its bytes, and the key that created it.

`registry.json` in a folder of this machine states all three. By default log and bytes are files beside it, without a
server; to share a registry among machines, keep the log in PostgreSQL and the bytes in an object store.
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

from worldtune.core.files import lock_folder, make_folder, write_json
from worldtune.core.progress import Progress, silent
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json
from worldtune.errors import RecipeError, RegistryError, TamperError, UserError
from worldtune.registry.events.events import PolicySet, RegistryCreated, make_fact
from worldtune.registry.log.entries import Entries, Note
from worldtune.registry.log.event_log import LOG_HINT, Event, Head, read_verified_history
from worldtune.registry.log.replay import replay
from worldtune.registry.log.replica import Replica
from worldtune.registry.log.seen_head import read_seen_head, save_seen_head, seen_head_path, truncated_log_error
from worldtune.registry.log.state import State
from worldtune.registry.log.writer import Writer
from worldtune.registry.policy import DEFAULT_POLICY, Policy
from worldtune.registry.signing.dsse import envelope_key_id, unverified_statement
from worldtune.registry.signing.keys import public_pem
from worldtune.registry.store.blob_store import BlobStore
from worldtune.registry.store.database import migrate, open_engine, read_transaction, schema_version, write_transaction
from worldtune.registry.store.schema import EVENTS

CONFIG_FILE = "registry.json"
FORMAT = 3
FOLDER_VARIABLE = "WORLDTUNE_REGISTRY"


class RegistryConfig(StrictModel):
    """The content of `registry.json`; its paths are relative to its folder."""

    format: int = Field(FORMAT, ge=FORMAT, le=FORMAT)
    registry: str = Field(pattern=r"^[0-9a-f-]{36}$")
    founder: str = Field(pattern=r"^[0-9a-f]{64}$")
    database: str = "sqlite:///log.db"
    store: str = "."


@dataclass(frozen=True)
class Listener:
    """Callbacks for notes to the user, verification progress, and a committed write."""

    note: Note = logging.getLogger("worldtune").warning
    on_event: Progress = silent
    on_commit: Callable[[], None] = lambda: None


DEFAULT_LISTENER = Listener()


@dataclass(frozen=True)
class Registry:
    """An open registry; with `ignore_cache` every event is verified again."""

    folder: Path
    config: RegistryConfig
    engine: Engine
    store: BlobStore
    listener: Listener = DEFAULT_LISTENER
    ignore_cache: bool = False

    @property
    def seen_head_path(self) -> Path:
        """The file that holds the newest event that this user saw."""
        return seen_head_path(self.config.registry, self.config.founder)

    @contextmanager
    def view(self) -> Iterator[State]:
        """Yield the current verified state, valid inside the block only. Raise TamperError if the log was changed."""
        replica = Replica(self.config.registry, self.config.founder, self.listener.note)
        seen = read_seen_head(self.seen_head_path)  # read before the log, which then includes what others write
        with replica.snapshot() as entries:
            cached = self._load_state(replica, entries)
            before = cached.head
            with read_transaction(self.engine) as connection:
                state = self._apply_new_events(connection, cached, seen)
            try:
                yield state
            finally:
                self._save_state(replica, entries, before, state)

    @contextmanager
    def writer(self, signer: CryptoSigner, *, clock_was_ahead: bool = False) -> Iterator[Writer]:
        """Write all events of the block, or none. With `clock_was_ahead`, allow a log time in the future.

        After the commit nothing fails: if this machine cannot cache the new state, a note says so.
        """
        with self.view():  # verify new events before taking the lock that other writers wait for
            pass
        replica = Replica(self.config.registry, self.config.founder, self.listener.note)
        seen = read_seen_head(self.seen_head_path)
        with replica.snapshot() as entries:
            cached = self._load_state(replica, entries)
            before = cached.head
            with write_transaction(self.engine) as connection:
                state = self._apply_new_events(connection, cached, seen)
                writer = Writer(connection, state, signer, clock_was_ahead=clock_was_ahead)
                yield writer
            if writer.state.head != state.head:
                self.listener.on_commit()
            self._save_state(replica, entries, before, writer.state)

    @contextmanager
    def history(self) -> Iterator[tuple[State, list[Event[Any]]]]:
        """Yield the state and every event up to it, including those without effect."""
        with self.view() as state, read_transaction(self.engine) as connection:
            yield state, list(read_verified_history(connection, state.head, self.config.registry))

    def _load_state(self, replica: Replica, entries: Entries | None) -> State:
        if self.ignore_cache:
            return State(self.config.registry, self.config.founder)
        state = replica.load(entries)
        if entries is not None:
            entries.rebuild = partial(self._rebuild_state, state.head)
        return state

    def _rebuild_state(self, head: Head) -> State:
        """Return the state at a head that was verified before, rebuilt from the first event."""
        state = State(self.config.registry, self.config.founder)
        with read_transaction(self.engine) as connection:
            for _, after in replay(connection, state):
                state = after
                if state.head.sequence == head.sequence:
                    break
        if state.head != head:
            raise truncated_log_error(head.sequence, self.config.database)
        return state

    def _apply_new_events(self, connection: Connection, state: State, seen: Head) -> State:
        """Return the state after all events. Raise TamperError if an event was changed or a seen event is missing."""
        start = state.head
        there = select(EVENTS.c.hash).where(EVENTS.c.sequence == start.sequence).scalar_subquery()
        newest, found = connection.execute(select(func.max(EVENTS.c.sequence), there)).one()
        total = 0 if newest is None else newest
        if not isinstance(total, int):
            raise TamperError("a row's sequence is not a number", where=self.config.database, hint=LOG_HINT)
        if start.sequence and found != start.hash:
            raise truncated_log_error(start.sequence, self.config.database)
        for event, after in replay(connection, state) if total > start.sequence else ():
            state = after
            if seen.sequence == event.sequence and seen.hash != event.hash:
                raise truncated_log_error(seen.sequence, self.config.database)
            self.listener.on_event(event.sequence - start.sequence, total - start.sequence)
        if seen.sequence > state.head.sequence:
            raise truncated_log_error(seen.sequence, self.config.database)
        return state

    def _save_state(self, replica: Replica, entries: Entries | None, before: Head, state: State) -> None:
        if state.head != before or (entries is not None and entries.rebuilt is not None):
            replica.save(entries, state)
            save_seen_head(self.seen_head_path, state.head, self.listener.note)


def default_folder() -> Path:
    """Return the folder in WORLDTUNE_REGISTRY, else `worldtune/registry` in $XDG_DATA_HOME (~/.local/share)."""
    named = os.environ.get(FOLDER_VARIABLE)
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(named) if named else Path(data) / "worldtune" / "registry"


def open_registry(
    folder: Path | None = None, listener: Listener = DEFAULT_LISTENER, *, ignore_cache: bool = False
) -> Registry:
    """Return the registry of a folder. Raise RegistryError if there is none or it cannot be used.

    With `ignore_cache` every event is verified again, even those that this machine verified before.
    """
    folder = folder or default_folder()
    path = folder / CONFIG_FILE
    if not path.is_file():
        hint = "Create one with `worldtune registry init`, or name yours with --registry or WORLDTUNE_REGISTRY."
        raise RegistryError("there is no registry here", where=str(folder), hint=hint)
    return _open(folder, _read_config(path), listener, ignore_cache=ignore_cache)


def create_registry(
    folder: Path, person: str, signer: CryptoSigner, database: str | None = None, store: str | None = None
) -> Registry:
    """Create a registry with the default policy, whose first administrator is `person`.

    Raise RegistryError if the folder or the database already holds a registry.
    """
    config = _make_config(str(uuid.uuid4()), signer.public_key.keyid, database, store)
    stated = {"registry": config.registry, "person": person, "public": public_pem(signer.public_key)}
    created = make_fact(RegistryCreated, stated)
    make_folder(folder)
    with lock_folder(folder):
        _check_no_registry(folder)
        write_json(
            folder / CONFIG_FILE, config.model_dump()
        )  # first: if interrupted later, the log's location is known
        try:
            registry = _open(folder, config)
            with read_transaction(registry.engine) as connection:
                is_taken = connection.execute(select(EVENTS.c.sequence)).first() is not None
            if is_taken:
                hint = "Join it with `worldtune registry join`, or name another database."
                raise RegistryError("this database already holds a registry", where=config.database, hint=hint)
        except UserError:
            (folder / CONFIG_FILE).unlink()
            raise
        with registry.writer(signer) as writer:
            writer.append(created)
            writer.append(make_policy_fact(DEFAULT_POLICY))
    return registry


def join_registry(folder: Path, founder: str, database: str, store: str) -> Registry:
    """Join a registry that another machine created; `founder` is (a prefix of) the id of the key that created it.

    Raise RegistryError if the database holds no registry, TamperError if another key created it.
    """
    with lock_folder(folder):
        _check_no_registry(folder)
        with read_transaction(open_engine(_resolve_sqlite_path(database, folder))) as connection:
            query = select(EVENTS.c.envelope).where(EVENTS.c.sequence == 1)
            first = connection.execute(query).scalar_one_or_none() if _has_schema(connection) else None
        if first is None:
            raise RegistryError("this database holds no registry", where=database, hint="Choose another database.")
        key = envelope_key_id(first.encode(), "event 1")
        if len(founder) < 12 or not key.startswith(founder):
            what = f"the registry was created by the key {key}, not by {founder}"
            raise TamperError(what, where=database, hint="Ask its administrator for the founder's key id.")
        config = _make_config(
            unverified_statement(first.encode(), "event 1")["predicate"].get("registry"), key, database, store
        )
        registry = _open(folder, config)
        with registry.view():
            write_json(folder / CONFIG_FILE, config.model_dump())
    return registry


def make_policy_fact(policy: Policy) -> PolicySet:
    return PolicySet(policy=policy.digest, content=policy.model_dump(mode="json"))


def _has_schema(connection: Connection) -> bool:
    return schema_version(connection) is not None


def _make_config(registry: Any, founder: str, database: str | None, store: str | None) -> RegistryConfig:
    """Return the configuration. Raise TamperError if the registry's or the founder's id is malformed."""
    given = {name: value for name, value in (("database", database), ("store", store)) if value is not None}
    try:
        return parse_model(RegistryConfig, {"registry": registry, "founder": founder, **given}, "event 1")
    except RecipeError as error:
        raise TamperError(f"event 1 creates no registry: {error.what}", where="event 1", hint=LOG_HINT) from error


def _check_no_registry(folder: Path) -> None:
    path = folder / CONFIG_FILE
    if not path.exists():
        return
    config = _read_config(path)
    with read_transaction(open_engine(_resolve_sqlite_path(config.database, folder))) as connection:
        has_events = _has_schema(connection) and connection.execute(select(EVENTS.c.sequence)).first() is not None
    if has_events:
        hint = "Use it, or choose another folder."
        raise RegistryError("this folder already holds a registry", where=str(folder), hint=hint)


def _read_config(path: Path) -> RegistryConfig:
    try:
        return parse_model(
            RegistryConfig, read_json(path, error=RegistryError, hint="Restore it from a copy."), str(path)
        )
    except RecipeError as error:
        raise RegistryError(error.what, where=str(path), hint=error.hint) from error


def _open(
    folder: Path, config: RegistryConfig, listener: Listener = DEFAULT_LISTENER, *, ignore_cache: bool = False
) -> Registry:
    engine = open_engine(_resolve_sqlite_path(config.database, folder))
    migrate(engine, folder)
    store = config.store if "://" in config.store else str((folder / config.store).absolute())
    return Registry(folder, config, engine, BlobStore(store), listener, ignore_cache)


def _resolve_sqlite_path(database: str, folder: Path) -> str:
    """Return a database URL in which a relative SQLite path is resolved against the registry's folder."""
    kind, _, file = database.partition(":///")
    return (
        str(URL.create("sqlite", database=str((folder / file).absolute()))) if kind == "sqlite" and file else database
    )
