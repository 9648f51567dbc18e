"""The one writer: each fact is asked of the rules first, then signed for the next place in the chain."""

from functools import partial
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from sqlalchemy import Connection

from worldtune.errors import RegistryError
from worldtune.registry.clock import time_after, time_here
from worldtune.registry.facts import Fact, Founded, as_fact
from worldtune.registry.identities import Identity
from worldtune.registry.log.event_log import Event, Head, append_event, verified_history
from worldtune.registry.log.reducer import apply
from worldtune.registry.log.rules import check
from worldtune.registry.log.state import State, place
from worldtune.registry.log.statements_of_others import identity_of

F = TypeVar("F", bound=Fact)


class Writer:
    """Adds facts as the holder of a key, all at one time; `state` is that after what was added."""

    def __init__(
        self, connection: Connection, state: State, signer: CryptoSigner, *, clock_was_ahead: bool = False
    ) -> None:
        self.connection, self.state, self.signer = connection, state, signer
        self.key: str = signer.public_key.keyid
        self.at = time_here() if clock_was_ahead else time_after(state.clock)

    @property
    def identity(self) -> Identity:
        """Who writes. Raises RegistryError for a key that nobody enrolled."""
        return identity_of(self.state, self.key, "key")

    def check(self, fact: Fact) -> None:
        """Raises RegistryError unless the rules allow the fact now, by this key."""
        check(self.state, self._draft(fact))

    def append(self, fact: F) -> Event[F]:
        """Sign a fact and put it at the chain's end. Raises RegistryError when the rules do not allow it.

        Raises BusyError when another was first.
        """
        draft = self._draft(fact)
        check(self.state, draft)
        event, _ = append_event(self.connection, self.signer, self.state.registry, self.state.head, draft)
        here = Head(event.sequence, event.hash)
        history = partial(verified_history, self.connection, here, self.state.registry)
        self.state = apply(self.state, event, history)
        if place(event.sequence) in self.state.ignored:
            raise RegistryError("the rules do not allow what they allowed", where=fact.kind, mend="Report this.")
        return event

    def _draft(self, fact: F) -> Event[F]:
        person = fact.person if isinstance(fact, Founded) else self.identity.person
        stated = as_fact(type(fact), fact.model_dump(mode="json"))
        return Event(self.state.head.sequence + 1, self.at, person, self.key, stated, "")
