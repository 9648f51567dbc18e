"""Verifying everything from nothing: the chain, every signature, rule and byte. What is wrong is named, not changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select

from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.registry.database import reading
from worldtune.registry.evidence import check_evaluation
from worldtune.registry.facts import Released
from worldtune.registry.log.event_log import MEND, Event, Head
from worldtune.registry.log.heads import cut_off, read_seen
from worldtune.registry.log.replay import replay
from worldtune.registry.log.schema import EVENTS
from worldtune.registry.log.state import State, place
from worldtune.registry.registry import Progress, Registry
from worldtune.registry.stated import check_stated, verify_signed_provenance
from worldtune.registry.store import Store


@dataclass
class Verification:
    """What was found. `unnamed` blobs are those that no fact names, as a process leaves that was killed: harmless.

    `void` are events that lost their effect when a key was called stolen: that is as it should be.
    """

    events: int = 0
    releases: int = 0
    blobs: int = 0
    unnamed: int = 0
    head: Head = field(default_factory=Head)
    void: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.faults


def verify(
    registry: Registry,
    on_release: Progress = lambda done, total: None,
    on_event: Progress = lambda done, total: None,
) -> Verification:
    """Look at all there is, whatever this machine verified before. Raises RegistryError when it cannot be looked at."""
    found = Verification()
    seen = read_seen(registry.seen)
    with reading(registry.engine) as connection:
        state, events = _replay(connection, registry, found, on_event)
    if seen.sequence > state.head.sequence or any(
        event.sequence == seen.sequence and event.hash != seen.hash for event in events
    ):
        found.faults.append(str(cut_off(seen.sequence, registry.place.database)))
    for event in events:
        if ignored := state.ignored.get(place(event.sequence)):
            told = f"event {event.sequence} by {event.actor} has no effect ({event.fact.told}): {ignored.why}"
            (found.faults if ignored.since == event.sequence else found.void).append(told)
    _check_blobs(registry.store, state, found, on_release)
    return found


def _replay(
    connection: Connection, registry: Registry, found: Verification, on_event: Progress
) -> tuple[State, list[Event[Any]]]:
    """Every event from the first on, up to the first that is not what was written."""
    state, events = State(registry.place.registry, registry.place.founder), []
    total = connection.execute(select(func.count()).select_from(EVENTS)).scalar_one()
    try:
        for event, after in replay(connection, state):
            state = after
            events.append(event)
            on_event(len(events), total)
    except RegistryError as error:
        found.faults.append(str(error))
        if left := total - len(events) - 1:
            found.faults.append(f"{left} events after it cannot be judged [event {state.head.sequence + 2} and on]")
    else:
        if len(events) != total:
            what = f"{total - len(events)} rows stand before the first event"
            found.faults.append(str(TamperError(what, where="event 1", mend=MEND)))
    found.events, found.head = total, state.head
    return state, events


def _check_blobs(store: Store, state: State, found: Verification, on_release: Progress) -> None:
    """Each release is what it states, each evaluation what its results say, and each blob of them has its bytes."""
    named: set[str] = set()
    releases = list(state.releases.values())
    found.releases = len(releases)
    for done, event in enumerate(releases, start=1):
        on_release(done, len(releases))
        for check in _checks(store, state, event, named):
            _try(found, check)
    there = set(store.digests())
    found.blobs, found.unnamed = len(there), len(there - named)


def _checks(store: Store, state: State, event: Event[Released], named: set[str]) -> Iterator[Callable[[], object]]:
    release = event.fact
    named |= {release.digest, release.provenance}

    def check_files() -> None:
        manifest = store.manifest(release.digest)
        new = [entry for entry in manifest.files if entry.sha256 not in named]
        named.update(entry.sha256 for entry in manifest.files)
        for entry in new:
            store.check(entry)
        check_stated(store, release)

    yield check_files
    yield partial(verify_signed_provenance, store, state, release)
    for evaluation in state.evaluations.get(release.digest) or ():
        if evaluation.fact.name == release.name:
            named.add(evaluation.fact.results)
            yield partial(check_evaluation, store, release, evaluation.fact)


def _try(found: Verification, check: Callable[[], object]) -> None:
    try:
        check()
    except UserError as error:
        found.faults.append(str(error))
