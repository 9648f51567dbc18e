"""Full verification from the first event: the chain, every signature, rule and byte. It reports and changes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select

from worldtune.core.progress import Progress, silent
from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.governance.evidence import check_evaluation
from worldtune.registry.log.event_log import LOG_HINT, Event, Head
from worldtune.registry.log.replay import replay
from worldtune.registry.log.seen_head import read_seen_head, truncated_log_error
from worldtune.registry.log.state import State, sequence_key
from worldtune.registry.registry import Registry
from worldtune.registry.releases.verify_release import check_release_files, verify_signed_provenance
from worldtune.registry.store.blob_store import BlobStore
from worldtune.registry.store.database import read_transaction
from worldtune.registry.store.schema import EVENTS


@dataclass
class Verification:
    """The result of a verification.

    `unreferenced` blobs are named by no event; a killed process leaves such blobs, and they are harmless. `voided`
    events lost their effect, as intended, when a key was retired as stolen.
    """

    events: int = 0
    releases: int = 0
    blobs: int = 0
    unreferenced: int = 0
    head: Head = field(default_factory=Head)
    voided: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_valid(self) -> bool:
        return not self.faults


def verify(
    registry: Registry,
    on_release: Progress = silent,
    on_event: Progress = silent,
) -> Verification:
    """Verify everything without the cache of verified events. Raise RegistryError if it cannot be read."""
    found = Verification()
    seen = read_seen_head(registry.seen_head_path)
    with read_transaction(registry.engine) as connection:
        state, events = _replay(connection, registry, found, on_event)
    if seen.sequence > state.head.sequence or any(
        event.sequence == seen.sequence and event.hash != seen.hash for event in events
    ):
        found.faults.append(str(truncated_log_error(seen.sequence, registry.config.database)))
    for event in events:
        if ignored := state.ignored.get(sequence_key(event.sequence)):
            message = f"event {event.sequence} by {event.actor} has no effect ({event.fact.summary}): {ignored.why}"
            (found.faults if ignored.since == event.sequence else found.voided).append(message)
    _check_blobs(registry.store, state, found, on_release)
    return found


def _replay(
    connection: Connection, registry: Registry, found: Verification, on_event: Progress
) -> tuple[State, list[Event[Any]]]:
    """Return every event from the first one up to the first that was changed, and the state after them."""
    state, events = State(registry.config.registry, registry.config.founder), []
    total = connection.execute(select(func.count()).select_from(EVENTS)).scalar_one()
    try:
        for event, after in replay(connection, state):
            state = after
            events.append(event)
            on_event(len(events), total)
    except RegistryError as error:
        found.faults.append(str(error))
        if left := total - len(events) - 1:
            found.faults.append(f"{left} later events cannot be checked [event {state.head.sequence + 2} and later]")
    else:
        if len(events) != total:
            what = f"{total - len(events)} rows precede the first event"
            found.faults.append(str(TamperError(what, where="event 1", hint=LOG_HINT)))
    found.events, found.head = total, state.head
    return state, events


def _check_blobs(store: BlobStore, state: State, found: Verification, on_release: Progress) -> None:
    """Check each release against its statement, each evaluation against its results, and the bytes of their blobs."""
    named: set[str] = set()
    releases = list(state.releases.values())
    found.releases = len(releases)
    for done, event in enumerate(releases, start=1):
        on_release(done, len(releases))
        for check in _release_checks(store, state, event, named):
            _collect_fault(found, check)
    there = set(store.digests())
    found.blobs, found.unreferenced = len(there), len(there - named)


def _release_checks(
    store: BlobStore, state: State, event: Event[ReleaseAdded], named: set[str]
) -> Iterator[Callable[[], object]]:
    release = event.fact
    named |= {release.digest, release.provenance}

    def check_files() -> None:
        manifest = store.manifest(release.digest)
        new = [entry for entry in manifest.files if entry.sha256 not in named]
        named.update(entry.sha256 for entry in manifest.files)
        for entry in new:
            store.check(entry)
        check_release_files(store, release)

    yield check_files
    yield partial(verify_signed_provenance, store, state, release)
    for evaluation in state.evaluations.get(release.digest) or ():
        if evaluation.fact.name == release.name:
            named.add(evaluation.fact.results)
            yield partial(check_evaluation, store, release, evaluation.fact)


def _collect_fault(found: Verification, check: Callable[[], object]) -> None:
    try:
        check()
    except UserError as error:
        found.faults.append(str(error))
