"""What a server asks again and again: has anything changed of the releases it serves? Revocation reaches it so.

Asking costs one row while nothing was written. What cannot be asked raises: whether a server that cannot know goes on
is for it to decide, and not for silence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.clock import time_after
from worldtune.registry.log.state import State
from worldtune.registry.registry import Registry
from worldtune.registry.releases import Resolved, resolve


@dataclass(frozen=True)
class Change:
    """A reference that means something else now: a release, or the reason why none may be used."""

    reference: str
    release: Resolved | None
    refusal: str | None


@dataclass
class Watch:
    """References as they were when last looked at."""

    registry: Registry
    references: Sequence[str]
    seen: int = 0
    known: dict[str, str] = field(default_factory=dict)
    expiries: list[str] = field(default_factory=list)

    def look(self) -> list[Change]:
        """What changed since the last look; the first tells everything.

        Raises RegistryError when the record cannot be reached, TamperError when it is not as it was.
        """
        with self.registry.view() as state:
            now = time_after(state.clock)
            if state.head.sequence == self.seen and not any(now >= expiry for expiry in self.expiries):
                return []
            self.expiries = []
            changes = [change for change, meaning in self._states(state) if self._is_new(change.reference, meaning)]
            self.seen = state.head.sequence
        return changes

    def _states(self, state: State) -> Iterator[tuple[Change, str]]:
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

    def _is_new(self, reference: str, meaning: str) -> bool:
        before = self.known.get(reference)
        self.known[reference] = meaning
        return before != meaning
