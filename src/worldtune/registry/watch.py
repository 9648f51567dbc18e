"""Polling for servers: report changes, such as revocations, of the releases that a server serves.

A poll reads one row if nothing was written. If the registry cannot be read, the poll raises an error, and the server
decides whether to continue.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.clock import next_event_time
from worldtune.registry.log.resolve import ResolvedRelease, resolve
from worldtune.registry.log.state import State
from worldtune.registry.registry import Registry


@dataclass(frozen=True)
class Change:
    """A reference with a new meaning: a release, or the reason why none may be used."""

    reference: str
    release: ResolvedRelease | None
    error: str | None


@dataclass
class ReleaseWatcher:
    """References with their state at the last poll."""

    registry: Registry
    references: Sequence[str]
    last_sequence: int = 0
    last_states: dict[str, str] = field(default_factory=dict)
    expiries: list[str] = field(default_factory=list)

    def poll(self) -> list[Change]:
        """Return what changed since the last poll; the first poll returns every reference.

        Raise RegistryError if the registry cannot be reached, TamperError if its log was changed.
        """
        with self.registry.view() as state:
            now = next_event_time(state.clock)
            if state.head.sequence == self.last_sequence and not any(now >= expiry for expiry in self.expiries):
                return []
            self.expiries = []
            changes = [
                change
                for change, fingerprint in self._current_states(state)
                if self._has_changed(change.reference, fingerprint)
            ]
            self.last_sequence = state.head.sequence
        return changes

    def _current_states(self, state: State) -> Iterator[tuple[Change, str]]:
        for reference in self.references:
            try:
                found = resolve(state, reference)
            except TamperError:
                raise
            except RegistryError as error:
                yield Change(reference, None, str(error)), str(error)
                continue
            move = found.move and found.move.event
            if move and move.fact.expires:
                self.expiries.append(move.fact.expires)
            yield Change(reference, found, None), f"{found.digest} {move.hash if move else ''}"

    def _has_changed(self, reference: str, fingerprint: str) -> bool:
        before = self.last_states.get(reference)
        self.last_states[reference] = fingerprint
        return before != fingerprint
