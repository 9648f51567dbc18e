"""Read, verify and reduce the new events of the log."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import Connection

from worldtune.registry.log.event_log import Event, Head, read_event, read_rows, read_verified_history
from worldtune.registry.log.reducer import apply
from worldtune.registry.log.state import State


def replay(connection: Connection, state: State) -> Iterator[tuple[Event[Any], State]]:
    """Yield each event after the state's head with the state after it. Raise TamperError at the first changed event."""
    for row in read_rows(connection, state.head.sequence + 1):
        event = read_event(row, state.head, state.identities.get, state.registry, state.founder)
        history = partial(read_verified_history, connection, Head(event.sequence, event.hash), state.registry)
        state = apply(state, event, history)
        yield event, state
