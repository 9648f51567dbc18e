"""Read what is new in the log, verify it, and reduce it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import Connection

from worldtune.registry.log.event_log import Event, Head, read_event, rows_from, verified_history
from worldtune.registry.log.reducer import apply
from worldtune.registry.log.state import State


def replay(connection: Connection, state: State) -> Iterator[tuple[Event[Any], State]]:
    """Each event after the state's head, with the state after it. Raises TamperError at the first that was changed."""
    for row in rows_from(connection, state.head.sequence + 1):
        event = read_event(row, state.head, state.identities.get, state.registry, state.founder)
        history = partial(verified_history, connection, Head(event.sequence, event.hash), state.registry)
        state = apply(state, event, history)
        yield event, state
