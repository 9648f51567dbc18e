"""The only writer: it checks each event against the rules, then signs it for the next position in the chain."""

from functools import partial
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from sqlalchemy import Connection

from worldtune.errors import RegistryError
from worldtune.registry.clock import current_time, next_event_time
from worldtune.registry.events.events import Fact, RegistryCreated, make_fact
from worldtune.registry.events.identities import Identity
from worldtune.registry.log.event_log import Event, Head, append_event, read_verified_history
from worldtune.registry.log.imported_statements import get_identity
from worldtune.registry.log.reducer import apply
from worldtune.registry.log.rules import check_event
from worldtune.registry.log.state import State, sequence_key

F = TypeVar("F", bound=Fact)


class Writer:
    """A writer of events that are signed by one key and share one time; `state` includes what was appended."""

    def __init__(
        self, connection: Connection, state: State, signer: CryptoSigner, *, clock_was_ahead: bool = False
    ) -> None:
        self.connection, self.state, self.signer = connection, state, signer
        self.key: str = signer.public_key.keyid
        self.at = current_time() if clock_was_ahead else next_event_time(state.clock)

    @property
    def identity(self) -> Identity:
        """The signer. Raise RegistryError if the key is not enrolled."""
        return get_identity(self.state, self.key, "key")

    def check_fact(self, fact: Fact) -> None:
        """Raise RegistryError unless the rules allow the event now, by this key."""
        check_event(self.state, self._draft(fact))

    def append(self, fact: F) -> Event[F]:
        """Sign an event and append it to the chain.

        Raise RegistryError if the rules do not allow it, BusyError if another process wrote first.
        """
        draft = self._draft(fact)
        check_event(self.state, draft)
        event, _ = append_event(self.connection, self.signer, self.state.registry, self.state.head, draft)
        here = Head(event.sequence, event.hash)
        history = partial(read_verified_history, self.connection, here, self.state.registry)
        self.state = apply(self.state, event, history)
        if sequence_key(event.sequence) in self.state.ignored:
            what = "an allowed event had no effect, which is a bug"
            raise RegistryError(what, where=fact.kind, hint="Report this to the developers of worldtune.")
        return event

    def _draft(self, fact: F) -> Event[F]:
        person = fact.person if isinstance(fact, RegistryCreated) else self.identity.person
        stated = make_fact(type(fact), fact.model_dump(mode="json"))
        return Event(self.state.head.sequence + 1, self.at, person, self.key, stated, "")
