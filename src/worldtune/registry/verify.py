"""Verifying everything: the chain, every signature, row and blob. What is wrong is named, and nothing is mended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from worldtune.errors import RegistryError
from worldtune.registry.brought import counts
from worldtune.registry.facts import BY_KIND, ClockSet, Evaluated, Fact, Founded, Moved, Released
from worldtune.registry.manifest import Manifest
from worldtune.registry.moves import check_move
from worldtune.registry.people import People
from worldtune.registry.record import START, Event, Head, Stored, View, event_of
from worldtune.registry.registry import Registry
from worldtune.registry.statements import said
from worldtune.registry.store import Store
from worldtune.registry.tables import EVENTS, TABLES, row_of

Progress = Callable[[int, int], None]


@dataclass
class Verification:
    """What was found. `unnamed` blobs are those that no fact names, as a process leaves that was killed: harmless."""

    events: int = 0
    releases: int = 0
    blobs: int = 0
    unnamed: int = 0
    head: Head = field(default_factory=lambda: Head(0, START, None))
    faults: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.faults


def verify(registry: Registry, on_release: Progress = lambda done, total: None) -> Verification:
    """Look at all there is. Raises RegistryError only when it cannot be looked at, or is no registry of the founder."""
    found = Verification()
    with registry.view() as view:
        events = list(_replay(view, registry.place.registry, found))
        _compare_rows(view, events, found)
        for event in events:
            _try(found, counts, view, event)
            if isinstance(event.fact, Moved):
                _try(found, _check_move, view, event)
    _check_blobs(registry.store, events, found, on_release)
    return found


def _replay(view: View, registry: str, found: Verification) -> Iterator[Event[Any]]:
    """Every event from the first on, each by the people known before it, and each with the hash of the one before."""
    people, last = People(), Head(0, START, None)
    for row in (Stored(*row) for row in view.connection.execute(select(EVENTS).order_by(EVENTS.c.sequence))):
        found.events += 1
        try:
            event = _next(row, last, people, view.founder, registry)
            people.learn(event.fact, event.at, event.sequence, event.key)
            yield event
        except RegistryError as error:
            found.faults.append(str(error))
        last = Head(row.sequence, row.hash, row.at)
    found.head = last


def _next(row: Stored, last: Head, people: People, founder: str, registry: str) -> Event[Any]:
    where, mend = f"event {row.sequence}", "Bring the record back from a copy."
    event = event_of(row, people, founder)
    predicate = said(row.envelope.encode(), where)["predicate"]
    if row.sequence != last.sequence + 1 or predicate["previous"] != last.hash:
        raise RegistryError(f"the chain is broken after event {last.sequence}", where=where, mend=mend)
    if predicate["registry"] != registry:
        raise RegistryError("it is of another registry", where=where, mend=mend)
    if last.at is not None and row.at < last.at and not isinstance(event.fact, ClockSet):
        raise RegistryError("it is older than the event before", where=where, mend=mend)
    if isinstance(event.fact, Founded) != (row.sequence == 1):
        raise RegistryError("a registry is founded once", where=where, mend=mend)
    return event


def _compare_rows(view: View, events: list[Event[Any]], found: Verification) -> None:
    """Each fact has its row, each row its fact."""
    for kind in BY_KIND.values():
        signed = {event.sequence: row_of(event.fact, event.sequence) for event in events if type(event.fact) is kind}
        stands = {row.sequence: dict(row._mapping) for row in view.connection.execute(select(TABLES[kind]))}
        for sequence in sorted(signed.keys() | stands.keys()):
            if (mine := signed.get(sequence)) != (there := stands.get(sequence)):
                found.faults.append(f"{_fault(kind, sequence, mine, there)} [record]")


def _fault(kind: type[Fact], sequence: int, signed: dict[str, Any] | None, stands: dict[str, Any] | None) -> str:
    if stands is None:
        return f"the row {sequence} of {kind.kind} is missing"
    if signed is None:
        return f"the row {sequence} of {kind.kind} was signed by nobody"
    changed = [name for name in signed if signed[name] != stands[name]]
    return f"the row {sequence} of {kind.kind} was changed: {', '.join(changed)}"


def _check_blobs(store: Store, events: list[Event[Any]], found: Verification, on_release: Progress) -> None:
    """Each blob that a fact names is there, with its bytes."""
    named: set[str] = set()
    releases = [event.fact for event in events if isinstance(event.fact, Released)]
    found.releases = len(releases)
    for done, release in enumerate(releases, start=1):
        on_release(done, len(releases))
        for digest in (release.digest, release.provenance):
            _try(found, store.read, digest)
            named.add(digest)
        if any(release.digest in fault for fault in found.faults):
            continue
        manifest = _manifest(store, release.digest, found)
        for entry in manifest.files if manifest else ():
            if entry.sha256 not in named:
                _try(found, store.check, entry)
                named.add(entry.sha256)
    for event in events:
        if isinstance(event.fact, Evaluated) and (digest := event.fact.results) not in named:
            _try(found, store.read, digest)
            named.add(digest)
    there = set(store.digests())
    found.blobs, found.unnamed = len(there), len(there - named)


def _check_move(view: View, event: Event[Any]) -> None:
    fact = event.fact
    for release in view.facts(Released, adapter=fact.adapter, number=fact.number):
        check_move(view, event, release.fact)


def _manifest(store: Store, digest: str, found: Verification) -> Manifest | None:
    try:
        return store.manifest(digest)
    except RegistryError as error:
        found.faults.append(str(error))
        return None


def _try(found: Verification, check: Callable[..., object], *about: object) -> None:
    try:
        check(*about)
    except RegistryError as error:
        found.faults.append(str(error))
