"""The reducer: a state and an event give the next state. An event that the rules do not allow has no effect.

The state is a pure function of the events. Once a key is known as stolen, it is what it would be if that key had never
let anything in: all events are reduced again, with that known from the start.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from worldtune.errors import RegistryError
from worldtune.registry.facts import (
    Approved,
    BaseRevoked,
    ClockSet,
    Derived,
    Enrolled,
    Evaluated,
    Expected,
    Fact,
    Founded,
    Labelled,
    Moved,
    PolicySet,
    Published,
    Released,
    Retired,
    Revoked,
    Withdrawn,
)
from worldtune.registry.identities import Identity
from worldtune.registry.keys import public_key
from worldtune.registry.log.event_log import Event, Head
from worldtune.registry.log.permissions import TAKING
from worldtune.registry.log.rules import check
from worldtune.registry.log.state import Events, Ignored, Move, State, place
from worldtune.registry.log.statements_of_others import brought_key
from worldtune.registry.releases import move_key
from worldtune.registry.standing import POLICY, approval_key, made_at, standing, still_approved

History = Callable[[], Iterable[Event[Any]]]


def apply(state: State, event: Event[Any], history: History) -> State:
    """The state after an event; `history` are all events up to it, for when one makes a key known as stolen.

    The state that is given may change. An event without effect is in the state's `ignored`, with the reason.
    """
    if ignored := _refusal(state, event, event.sequence):
        state.ignored.put(place(event.sequence), ignored)
    else:
        _take(state, event)
        fact = event.fact
        if isinstance(fact, Retired) and fact.stolen and fact.key not in state.stolen:
            return _without_stolen(state, event, history)
    state.head = Head(event.sequence, event.hash)
    return state


def _refusal(state: State, event: Event[Any], since: int) -> Ignored | None:
    """Why the rules do not allow an event, since which event; None if they do."""
    try:
        check(state, event)
    except RegistryError as error:
        return Ignored(since, error.what)
    return None


def _without_stolen(state: State, theft: Event[Any], history: History) -> State:
    """Reduce everything again, knowing of the theft. What had no effect before stays without."""
    again = State(state.registry, state.founder)
    again.stolen = state.stolen | {theft.fact.key}
    for event in history():
        if event.sequence > theft.sequence:
            break
        key = place(event.sequence)
        ignored = state.ignored.get(key)
        if ignored is None and not isinstance(event.fact, TAKING):  # what was taken away by right stays so
            ignored = _refusal(again, event, theft.sequence)
        if ignored is None:
            _take(again, event)
        else:
            again.ignored.put(key, ignored)
            if ignored.since != event.sequence:
                _reserve(again, event)
                _leave_empty(again, event)
        again.head = Head(event.sequence, event.hash)
    return again


def _take(state: State, event: Event[Any]) -> None:
    """Let an allowed event have its effect."""
    _reserve(state, event)
    EFFECTS[type(event.fact)](state, event, event.fact)
    if event.fact.brought is not None:
        state.brought.put(brought_key(event.fact.brought.encode()), event.sequence)


def _reserve(state: State, event: Event[Any]) -> None:
    """What an event that was allowed used up for good, even if it lost its effect: its time, number, generation."""
    fact = event.fact
    state.clock = event.at
    if isinstance(fact, Founded):
        state.founded_at = event.at
    if isinstance(fact, Released):
        state.numbers.put(fact.adapter, fact.number)
    if isinstance(fact, Moved):
        state.generations.put(f"{fact.adapter}@{fact.channel}", fact.generation)


def _leave_empty(state: State, event: Event[Any]) -> None:
    """A rollback that fell with what it went back to: the release that somebody rolled away from does not come back."""
    fact = event.fact
    if isinstance(fact, Moved) and fact.how == "rollback" and event.key not in state.stolen:
        state.heads.put(f"{fact.adapter}@{fact.channel}", "")


def _founded(state: State, event: Event[Any], fact: Founded) -> None:
    identity = Identity(event.key, fact.person, fact.public, fact.roles, event.sequence, event.key)
    state.identities.put(event.key, replace(identity, stolen=event.key in state.stolen))


def _enrolled(state: State, event: Event[Any], fact: Enrolled) -> None:
    key = public_key(fact.public).keyid
    identity = Identity(key, fact.person, fact.public, fact.roles, event.sequence, event.key, fact.expires)
    state.identities.put(key, replace(identity, stolen=key in state.stolen))


def _retired(state: State, event: Event[Any], fact: Retired) -> None:
    known = state.identities[fact.key]
    retired, at = known.retired or event.sequence, known.retired_at or event.at
    state.identities.put(fact.key, replace(known, retired=retired, retired_at=at, stolen=known.stolen or fact.stolen))


def _policy_set(state: State, event: Event[Any], fact: PolicySet) -> None:
    state.policies.put(POLICY, event)


def _expected(state: State, event: Event[Any], fact: Expected) -> None:
    state.expected.put(f"{fact.what} {fact.scope}", event)


def _released(state: State, event: Event[Any], fact: Released) -> None:
    state.releases.put(fact.name, event)
    state.by_digest.put(fact.digest, (*(state.by_digest.get(fact.digest) or ()), fact.name))
    if fact.parent is not None:
        state.children.put(fact.parent, (*(state.children.get(fact.parent) or ()), fact.name))
    _relabel(state, fact.adapter, fact.labels)


def _labelled(state: State, event: Event[Any], fact: Labelled) -> None:
    _relabel(state, fact.adapter, fact.labels)


def _relabel(state: State, adapter: str, labels: dict[str, str]) -> None:
    """The latest of a label holds, an empty one takes it away."""
    found = (state.labels.get(adapter) or {}) | labels
    state.labels.put(adapter, {key: value for key, value in found.items() if value})


def _evaluated(state: State, event: Event[Any], fact: Evaluated) -> None:
    state.evaluations.put(fact.digest, _in_order(state.evaluations.get(fact.digest) or (), event))


def _approved(state: State, event: Event[Any], fact: Approved) -> None:
    key = approval_key(fact, fact.channel)
    state.approvals.put(key, _in_order(state.approvals.get(key) or (), event))


def _in_order(found: Events, event: Event[Any]) -> Events:
    """In the order in which they were made: one that is brought later is not newer for it."""
    older = len(found)
    while event.fact.brought is not None and older and made_at(found[older - 1]) > made_at(event):
        older -= 1
    return (*found[:older], event, *found[older:])


def _withdrawn(state: State, event: Event[Any], fact: Withdrawn) -> None:
    key = approval_key(fact, fact.channel)
    state.withdrawals.put(key, (*(state.withdrawals.get(key) or ()), event))


def _moved(state: State, event: Event[Any], fact: Moved) -> None:
    release = state.releases[fact.name].fact
    now = standing(state, release, fact.channel, event.at)
    approvals = now.approvals if fact.how != "rollback" else still_approved(state, release, fact.channel, event.at)
    move = Move(event, now.evidence.hash if now.evidence else None, tuple(one.hash for one in approvals))
    key = move_key(fact.adapter, fact.channel, fact.generation)
    state.moves.put(key, move)
    state.heads.put(f"{fact.adapter}@{fact.channel}", key)


def _revoked(state: State, event: Event[Any], fact: Revoked) -> None:
    state.revoked.put(fact.digest, (*(state.revoked.get(fact.digest) or ()), event))


def _base_revoked(state: State, event: Event[Any], fact: BaseRevoked) -> None:
    state.revoked_bases.put(fact.base, (*(state.revoked_bases.get(fact.base) or ()), event))


def _derived(state: State, event: Event[Any], fact: Derived) -> None:
    state.derived.put(place(event.sequence), event)
    state.made.put(fact.digest, event.sequence)


def _published(state: State, event: Event[Any], fact: Published) -> None:
    """A copy elsewhere changes nothing here."""


def _clock_set(state: State, event: Event[Any], fact: ClockSet) -> None:
    state.corrections.put(place(event.sequence), event.at)


EFFECTS: dict[type[Fact], Callable[[State, Event[Any], Any], None]] = {
    Founded: _founded, Enrolled: _enrolled, Retired: _retired, PolicySet: _policy_set, Expected: _expected,
    Released: _released, Labelled: _labelled, Evaluated: _evaluated, Approved: _approved, Withdrawn: _withdrawn,
    Moved: _moved, Revoked: _revoked, BaseRevoked: _base_revoked, Derived: _derived, Published: _published,
    ClockSet: _clock_set,
}  # fmt: skip
