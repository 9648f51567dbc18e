"""The reducer: it computes the next state from a state and an event. An event that breaks a rule has no effect.

The state is a pure function of the events. When a key is retired as stolen, all events are reduced again with the theft
known from the start, so the state is what it would be if that key had never let anything in.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from worldtune.errors import RegistryError
from worldtune.registry.events.events import (
    ApprovalWithdrawn,
    ArtifactDerived,
    BaseRevoked,
    ChannelUpdated,
    ClockSet,
    ExpectationSet,
    Fact,
    KeyAdded,
    KeyRetired,
    Labeled,
    PolicySet,
    RegistryCreated,
    ReleaseAdded,
    ReleaseApproved,
    ReleaseEvaluated,
    ReleasePublished,
    ReleaseRevoked,
)
from worldtune.registry.events.identities import Identity
from worldtune.registry.log.event_log import Event, Head
from worldtune.registry.log.imported_statements import statement_digest
from worldtune.registry.log.permissions import REVOKING
from worldtune.registry.log.release_status import POLICY_KEY, approval_key, release_status, stated_at, valid_approvals
from worldtune.registry.log.resolve import move_key
from worldtune.registry.log.rules import check_event
from worldtune.registry.log.state import ChannelMove, EventTuple, IgnoredEvent, State, sequence_key
from worldtune.registry.signing.keys import parse_public_key

History = Callable[[], Iterable[Event[Any]]]


def apply(state: State, event: Event[Any], history: History) -> State:
    """Return the state after an event; `history` returns all events up to it, for the case that it reports a theft.

    The given state may change. An event without effect is listed in the state's `ignored` with the reason.
    """
    if ignored := _find_violation(state, event, event.sequence):
        state.ignored.put(sequence_key(event.sequence), ignored)
    else:
        _apply_effect(state, event)
        fact = event.fact
        if isinstance(fact, KeyRetired) and fact.stolen and fact.key not in state.stolen:
            return _reduce_without_stolen(state, event, history)
    state.head = Head(event.sequence, event.hash)
    return state


def _find_violation(state: State, event: Event[Any], since: int) -> IgnoredEvent | None:
    """Return why the rules do not allow an event and since which event, or None if they allow it."""
    try:
        check_event(state, event)
    except RegistryError as error:
        return IgnoredEvent(since, error.what)
    return None


def _reduce_without_stolen(state: State, theft: Event[Any], history: History) -> State:
    """Reduce all events again with the theft known. Events without effect stay without effect."""
    rebuilt = State(state.registry, state.founder)
    rebuilt.stolen = state.stolen | {theft.fact.key}
    for event in history():
        if event.sequence > theft.sequence:
            break
        key = sequence_key(event.sequence)
        ignored = state.ignored.get(key)
        if ignored is None and not isinstance(event.fact, REVOKING):  # valid revocations stay valid
            ignored = _find_violation(rebuilt, event, theft.sequence)
        if ignored is None:
            _apply_effect(rebuilt, event)
        else:
            rebuilt.ignored.put(key, ignored)
            if ignored.since != event.sequence:
                _reserve_numbers(rebuilt, event)
                _clear_channel(rebuilt, event)
        rebuilt.head = Head(event.sequence, event.hash)
    return rebuilt


def _apply_effect(state: State, event: Event[Any]) -> None:
    """Apply the effect of an allowed event."""
    _reserve_numbers(state, event)
    EFFECTS[type(event.fact)](state, event, event.fact)
    if event.fact.imported_statement is not None:
        state.imported_statements.put(statement_digest(event.fact.imported_statement.encode()), event.sequence)


def _reserve_numbers(state: State, event: Event[Any]) -> None:
    """Record the time, number and generation of an allowed event; they stay used even if it loses its effect."""
    fact = event.fact
    state.clock = event.at
    if isinstance(fact, RegistryCreated):
        state.created_at = event.at
    if isinstance(fact, ReleaseAdded):
        state.numbers.put(fact.adapter, fact.number)
    if isinstance(fact, ChannelUpdated):
        state.generations.put(f"{fact.adapter}@{fact.channel}", fact.generation)


def _clear_channel(state: State, event: Event[Any]) -> None:
    """Clear the channel of a voided rollback, so that the release that was rolled back does not return."""
    fact = event.fact
    if isinstance(fact, ChannelUpdated) and fact.action == "rollback" and event.key not in state.stolen:
        state.heads.put(f"{fact.adapter}@{fact.channel}", "")


def _registry_created(state: State, event: Event[Any], fact: RegistryCreated) -> None:
    identity = Identity(event.key, fact.person, fact.public, fact.roles, event.sequence, event.key)
    state.identities.put(event.key, replace(identity, stolen=event.key in state.stolen))


def _key_added(state: State, event: Event[Any], fact: KeyAdded) -> None:
    key = parse_public_key(fact.public).keyid
    identity = Identity(key, fact.person, fact.public, fact.roles, event.sequence, event.key, fact.expires)
    state.identities.put(key, replace(identity, stolen=key in state.stolen))


def _key_retired(state: State, event: Event[Any], fact: KeyRetired) -> None:
    known = state.identities[fact.key]
    retired, at = known.retired or event.sequence, known.retired_at or event.at
    state.identities.put(fact.key, replace(known, retired=retired, retired_at=at, stolen=known.stolen or fact.stolen))


def _policy_set(state: State, event: Event[Any], fact: PolicySet) -> None:
    state.policies.put(POLICY_KEY, event)


def _expectation_set(state: State, event: Event[Any], fact: ExpectationSet) -> None:
    state.expected.put(f"{fact.requirement} {fact.scope}", event)


def _release_added(state: State, event: Event[Any], fact: ReleaseAdded) -> None:
    state.releases.put(fact.name, event)
    state.names_by_digest.put(fact.digest, (*(state.names_by_digest.get(fact.digest) or ()), fact.name))
    if fact.parent is not None:
        state.children.put(fact.parent, (*(state.children.get(fact.parent) or ()), fact.name))
    _relabel(state, fact.adapter, fact.labels)


def _labeled(state: State, event: Event[Any], fact: Labeled) -> None:
    _relabel(state, fact.adapter, fact.labels)


def _relabel(state: State, adapter: str, labels: dict[str, str]) -> None:
    """Set labels; an empty value removes one."""
    found = (state.labels.get(adapter) or {}) | labels
    state.labels.put(adapter, {key: value for key, value in found.items() if value})


def _release_evaluated(state: State, event: Event[Any], fact: ReleaseEvaluated) -> None:
    state.evaluations.put(fact.digest, _insert_in_order(state.evaluations.get(fact.digest) or (), event))


def _release_approved(state: State, event: Event[Any], fact: ReleaseApproved) -> None:
    key = approval_key(fact, fact.channel)
    state.approvals.put(key, _insert_in_order(state.approvals.get(key) or (), event))


def _insert_in_order(found: EventTuple, event: Event[Any]) -> EventTuple:
    """Insert an event by the time when it was stated; a late import does not make it newer."""
    older = len(found)
    while event.fact.imported_statement is not None and older and stated_at(found[older - 1]) > stated_at(event):
        older -= 1
    return (*found[:older], event, *found[older:])


def _approval_withdrawn(state: State, event: Event[Any], fact: ApprovalWithdrawn) -> None:
    key = approval_key(fact, fact.channel)
    state.withdrawals.put(key, (*(state.withdrawals.get(key) or ()), event))


def _channel_updated(state: State, event: Event[Any], fact: ChannelUpdated) -> None:
    release = state.releases[fact.name].fact
    now = release_status(state, release, fact.channel, event.at)
    approvals = now.approvals if fact.action != "rollback" else valid_approvals(state, release, fact.channel, event.at)
    move = ChannelMove(
        event, now.evidence.hash if now.evidence else None, tuple(approval.hash for approval in approvals)
    )
    key = move_key(fact.adapter, fact.channel, fact.generation)
    state.moves.put(key, move)
    state.heads.put(f"{fact.adapter}@{fact.channel}", key)


def _release_revoked(state: State, event: Event[Any], fact: ReleaseRevoked) -> None:
    state.revoked.put(fact.digest, (*(state.revoked.get(fact.digest) or ()), event))


def _base_revoked(state: State, event: Event[Any], fact: BaseRevoked) -> None:
    state.revoked_bases.put(fact.base, (*(state.revoked_bases.get(fact.base) or ()), event))


def _artifact_derived(state: State, event: Event[Any], fact: ArtifactDerived) -> None:
    state.derived.put(sequence_key(event.sequence), event)
    state.derived_sequences.put(fact.digest, event.sequence)


def _release_published(state: State, event: Event[Any], fact: ReleasePublished) -> None:
    """Do nothing: a published copy does not change the state."""


def _clock_set(state: State, event: Event[Any], fact: ClockSet) -> None:
    state.clock_corrections.put(sequence_key(event.sequence), event.at)


EFFECTS: dict[type[Fact], Callable[[State, Event[Any], Any], None]] = {
    RegistryCreated: _registry_created, KeyAdded: _key_added, KeyRetired: _key_retired, PolicySet: _policy_set,
    ExpectationSet: _expectation_set,
    ReleaseAdded: _release_added, Labeled: _labeled, ReleaseEvaluated: _release_evaluated,
    ReleaseApproved: _release_approved, ApprovalWithdrawn: _approval_withdrawn,
    ChannelUpdated: _channel_updated, ReleaseRevoked: _release_revoked, BaseRevoked: _base_revoked,
    ArtifactDerived: _artifact_derived, ReleasePublished: _release_published,
    ClockSet: _clock_set,
}  # fmt: skip
