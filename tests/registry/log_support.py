"""Helpers of the tests: read the event log, and change it as an attacker without this program can."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from securesystemslib.signer import CryptoSigner
from sqlalchemy import insert, select, text

from worldtune.core.files import digest_bytes
from worldtune.registry.clock import current_time
from worldtune.registry.events.events import PREDICATE_TYPE, Fact
from worldtune.registry.log.event_log import Event, read_envelope
from worldtune.registry.log.reducer import apply
from worldtune.registry.log.replica import Replica
from worldtune.registry.log.resolve import resolve
from worldtune.registry.log.state import State, sequence_key
from worldtune.registry.registry import Registry
from worldtune.registry.signing.dsse import make_statement, sign
from worldtune.registry.store.database import read_transaction
from worldtune.registry.store.schema import EVENTS
from worldtune.registry.verify import verify

from .conftest import Team


class Row(NamedTuple):
    """A row of the event table."""

    sequence: int
    hash: str
    envelope: str


def list_events(registry: Registry, kind: type[Fact] | None = None) -> list[Event[Any]]:
    """Return every event that has an effect, in order, of one kind (default: all kinds)."""
    with registry.history() as (state, events):
        return [
            event
            for event in events
            if (kind is None or isinstance(event.fact, kind)) and sequence_key(event.sequence) not in state.ignored
        ]


def read_signed_envelope(registry: Registry, event: Event[Any]) -> bytes:
    """Return the signed envelope of an event."""
    with read_transaction(registry.engine) as connection:
        return read_envelope(connection, event)


def read_rows(registry: Registry) -> list[Row]:
    """Return the rows of the log in the database."""
    with registry.engine.connect() as connection:
        return [Row(*row) for row in connection.execute(select(EVENTS).order_by(EVENTS.c.sequence))]


def append_unchecked(registry: Registry, signer: CryptoSigner, fact: Fact, /, **changed: Any) -> int:
    """Sign an event with a person's own key and append it without checking the rules; return its position.

    `changed` replaces at, actor, registry, sequence, previous, kind or fact (as JSON).
    """
    last = read_rows(registry)[-1]
    with registry.view() as state:
        known = state.identities.get(signer.public_key.keyid)
    kind = changed.pop("kind", PREDICATE_TYPE.format(fact.kind))
    predicate = {
        "registry": registry.config.registry, "sequence": last.sequence + 1, "previous": last.hash,
        "at": current_time(),
        "actor": known.person if known else "nobody", "fact": fact.model_dump(mode="json"),
    }  # fmt: skip
    signed = sign(make_statement(fact.subject, kind, predicate | changed), signer)
    insert_rows(registry, Row(last.sequence + 1, digest_bytes(signed), signed.decode()))
    return last.sequence + 1


def insert_rows(registry: Registry, *new: Row) -> None:
    """Insert rows, which the triggers allow."""
    with registry.engine.begin() as connection:
        for row in new:
            connection.execute(insert(EVENTS), row._asdict())


def tamper(registry: Registry, *commands: str) -> None:
    """Change the database without its triggers, as its owner can."""
    with registry.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
        else:
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            for name in names:
                connection.execute(text(f"DROP TRIGGER {name}"))
        for command in commands:
            connection.execute(text(command))
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = DEFAULT"))


def delete(registry: Registry, *events: Event[Any]) -> None:
    """Delete events from the log."""
    tamper(registry, *(f"DELETE FROM event WHERE sequence = {event.sequence}" for event in events))


def get_replica(registry: Registry) -> Replica:
    """Return this machine's replica."""
    return Replica(registry.config.registry, registry.config.founder, lambda _: None)


def forget_log(registry: Registry, *, seen: bool = True) -> None:
    """Delete the replica and, if `seen`, the seen head, as on a machine that never read this log."""
    path = get_replica(registry).path
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    if seen:
        registry.seen_head_path.unlink(missing_ok=True)


def find_faults(team: Team) -> str:
    """Return every fault that `verify` reports, one on each line."""
    return "\n".join(verify(team.registry).faults)


def resolve_digest(registry: Registry, reference: str) -> str:
    """Return the digest of the release of a reference."""
    with registry.view() as state:
        return resolve(state, reference).digest


def checkpoint_wal(path: Path) -> None:
    """Move the write-ahead log into the database file."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for kind in ("-wal", "-shm"):
        path.with_name(path.name + kind).unlink(missing_ok=True)


def reduce_events(state: State, events: Iterator[Event[Any]]) -> State:
    """Return the state after a sequence of events in memory."""
    seen: list[Event[Any]] = []
    for event in events:
        seen.append(event)
        state = apply(state, event, lambda: list(seen))
    return state
