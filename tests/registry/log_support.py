"""The event log as tests look at it, and what somebody does to it who does not use this program."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from securesystemslib.signer import CryptoSigner
from sqlalchemy import insert, select, text

from worldtune.files import digest_bytes
from worldtune.registry.clock import time_here
from worldtune.registry.database import reading
from worldtune.registry.facts import KIND, Fact
from worldtune.registry.log.event_log import Event, envelope_of
from worldtune.registry.log.reducer import apply
from worldtune.registry.log.replica import Replica
from worldtune.registry.log.schema import EVENTS
from worldtune.registry.log.state import State, place
from worldtune.registry.registry import Registry
from worldtune.registry.releases import resolve
from worldtune.registry.statements import sign, statement
from worldtune.registry.verify import verify

from .conftest import Team


class Row(NamedTuple):
    """A row of the event table."""

    sequence: int
    hash: str
    envelope: str


def events_of(registry: Registry, kind: type[Fact] | None = None) -> list[Event[Any]]:
    """Every event of a kind that has an effect, in order; of all kinds when none is given."""
    with registry.history() as (state, events):
        return [
            event
            for event in events
            if (kind is None or isinstance(event.fact, kind)) and place(event.sequence) not in state.ignored
        ]


def signed_envelope(registry: Registry, event: Event[Any]) -> bytes:
    """An event as it was signed."""
    with reading(registry.engine) as connection:
        return envelope_of(connection, event)


def rows(registry: Registry) -> list[Row]:
    """The log as it stands in the database."""
    with registry.engine.connect() as connection:
        return [Row(*row) for row in connection.execute(select(EVENTS).order_by(EVENTS.c.sequence))]


def rogue(registry: Registry, signer: CryptoSigner, fact: Fact, /, **changed: Any) -> int:
    """Append what somebody's own program signs with their own key, past all rules; return its place.

    `changed` are at, actor, registry, sequence, previous, kind or fact as JSON, where they are not right.
    """
    last = rows(registry)[-1]
    with registry.view() as state:
        known = state.identities.get(signer.public_key.keyid)
    kind = changed.pop("kind", KIND.format(fact.kind))
    predicate = {
        "registry": registry.place.registry, "sequence": last.sequence + 1, "previous": last.hash, "at": time_here(),
        "actor": known.person if known else "nobody", "fact": fact.model_dump(mode="json"),
    }  # fmt: skip
    signed = sign(statement(fact.subject, kind, predicate | changed), signer)
    insert_rows(registry, Row(last.sequence + 1, digest_bytes(signed), signed.decode()))
    return last.sequence + 1


def insert_rows(registry: Registry, *new: Row) -> None:
    """The triggers allow it."""
    with registry.engine.begin() as connection:
        for row in new:
            connection.execute(insert(EVENTS), row._asdict())


def tampered(registry: Registry, *commands: str) -> None:
    """Change the database as its owner can: without its triggers."""
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
    """Take events out of the log."""
    tampered(registry, *(f"DELETE FROM event WHERE sequence = {event.sequence}" for event in events))


def replica_of(registry: Registry) -> Replica:
    """This machine's replica."""
    return Replica(registry.place.registry, registry.place.founder, lambda _: None)


def forget(registry: Registry, *, seen: bool = True) -> None:
    """Be a machine that never verified this log, and (if `seen`) never saw its head."""
    path = replica_of(registry).path
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    if seen:
        registry.seen.unlink(missing_ok=True)


def faults_of(team: Team) -> str:
    """All that `verify` names."""
    return "\n".join(verify(team.registry).faults)


def resolved(registry: Registry, reference: str) -> str:
    """The digest of what a reference gives."""
    with registry.view() as state:
        return resolve(state, reference).digest


def checkpoint(path: Path) -> None:
    """All of it in one file."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for kind in ("-wal", "-shm"):
        path.with_name(path.name + kind).unlink(missing_ok=True)


def reduce(state: State, events: Iterator[Event[Any]]) -> State:
    """The state after many events, from nothing: for whoever has them in memory."""
    seen: list[Event[Any]] = []
    for event in events:
        seen.append(event)
        state = apply(state, event, lambda: list(seen))
    return state
