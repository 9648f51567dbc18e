"""The rules: may an event be, at its moment? There is no second place where this is decided.

`check` is asked before an event is written, when one is read, imported or verified, and always says the same.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from worldtune.errors import RecipeError, RegistryError
from worldtune.registry.clock import time_of
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
    OfRelease,
    PolicySet,
    Published,
    Released,
    Retired,
    Revoked,
    Unreadable,
    Withdrawn,
)
from worldtune.registry.keys import public_key
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.permissions import check_signer
from worldtune.registry.log.state import State
from worldtune.registry.log.statements_of_others import check_brought
from worldtune.registry.names import is_name
from worldtune.registry.policy import Policy
from worldtune.registry.releases import check_not_revoked, revocation, same_bytes
from worldtune.registry.standing import approval_key, policy_now, rollback_target, standing
from worldtune.strict import parse

LONGEST_GLASS = timedelta(days=7)
PROMOTE_HINT = "Evaluate it again, or have it approved; in an emergency an administrator has --break-glass."


def check(state: State, event: Event[Any]) -> None:
    """Raise RegistryError unless the rules of this moment allow the event, with all that it lacks."""
    fact = event.fact
    if isinstance(fact, Unreadable):
        raise _no(event, f"it is no {fact.stated}: {fact.why}", "It was not written by worldtune.")
    if isinstance(fact, Founded) != (event.sequence == 1):
        raise _no(event, "a registry is founded once, by its first event", "Leave it.")
    check_signer(state, event)
    if fact.brought is not None:
        check_brought(state, event)
    RULES[type(fact)](state, event, fact)


def _founded(state: State, event: Event[Any], fact: Founded) -> None:
    if fact.registry != state.registry:
        raise _no(event, "it founds another registry", "Leave it.")


def _enrolled(state: State, event: Event[Any], fact: Enrolled) -> None:
    try:
        key = public_key(fact.public)
    except ValueError as error:
        raise _no(event, str(error), "Give the .pub file that `registry key` wrote.") from error
    if known := state.identities.get(key.keyid):
        raise _no(event, f"this key is enrolled already, as {known.person}'s", "Retire it, and enrol a new one.")


def _retired(state: State, event: Event[Any], fact: Retired) -> None:
    known = state.identities.get(fact.key)
    if known is None or known.person != fact.person:
        raise _no(event, f"{fact.person} has no such key", "See `worldtune registry people`.")
    others = (identity for key, identity in state.identities.items() if key != fact.key)
    if not any(identity.is_administrator(event.at) for identity in others):
        what = "nobody would be left to administer the registry"
        raise RegistryError(what, where=fact.key[:12], mend="Enrol another administrator first.")


def _policy_set(state: State, event: Event[Any], fact: PolicySet) -> None:
    try:
        policy = parse(Policy, fact.content, "policy")
    except RecipeError as error:
        raise _no(event, error.what, "Write a file as docs/registry.md shows.") from error
    if policy.digest != fact.policy or policy.model_dump(mode="json") != fact.content:
        raise _no(event, "the policy's text is not that of its digest", "Set it by `worldtune registry policy`.")


def _expected(state: State, event: Event[Any], fact: Expected) -> None:
    if fact.scope != "*" and not is_name(fact.scope):
        raise _no(event, f"{fact.scope!r} is no scope", "As cell7/front, or * for all.")


def _released(state: State, event: Event[Any], fact: Released) -> None:
    if fact.number != next_number(state, fact.adapter):
        raise _no(event, f"the next number of {fact.adapter} is {next_number(state, fact.adapter)}", "Add it again.")
    for known in same_bytes(state, fact.digest):
        if known.fact.adapter == fact.adapter:
            raise _no(event, f"these bytes are {known.fact.name} already", "Use that release.")
    check_bytes_not_revoked(state, fact)
    if fact.parent == fact.digest:
        raise _no(event, "it cannot come from itself", "Leave --parent out.")
    for parent in same_bytes(state, fact.parent)[:1] if fact.parent else ():
        if revoked := revocation(state, parent.fact):
            what = f"its parent {parent.fact.name} is revoked: {revoked.fact.reason}"
            raise _no(event, what, "Train from another, or leave --parent out if it is none.")


def check_bytes_not_revoked(state: State, release: Released) -> None:
    """Raise RegistryError when these bytes, or their base, are revoked under whatever name: they need not come in."""
    if revoked := revocation(state, release):
        if isinstance(revoked.fact, BaseRevoked):
            what = f"its base {release.base[:12]} is revoked: {revoked.fact.reason}"
        else:
            what = f"these bytes are revoked, as {revoked.fact.name}: {revoked.fact.reason}"
        raise RegistryError(what, where=release.adapter, mend="Add another adapter.")


def _labelled(state: State, event: Event[Any], fact: Labelled) -> None:
    if fact.adapter not in state.labels:
        raise _no(event, f"there is no adapter {fact.adapter}", "See `worldtune registry list`.")


def _evaluated(state: State, event: Event[Any], fact: Evaluated) -> None:
    release = _release(state, event, fact)
    if fact.base != release.base:
        raise _no(event, "base: the evaluation was of another base", "Evaluate it on the base of its card.")


def _approved(state: State, event: Event[Any], fact: Approved) -> None:
    release = _release(state, event, fact)
    check_not_revoked(state, release)
    if fact.person in {twin.fact.author for twin in same_bytes(state, release.digest)}:  # under whatever name
        raise _no(event, f"{fact.person} made it, and cannot approve it", "Ask somebody else who may approve.")


def _withdrawn(state: State, event: Event[Any], fact: Withdrawn) -> None:
    release = _release(state, event, fact)
    given = state.approvals.get(approval_key(release, fact.channel)) or ()
    if not any(approval.fact.person == event.actor for approval in given):
        raise _no(event, f"{event.actor} did not approve it for {fact.channel}", "See `worldtune registry show`.")


def _moved(state: State, event: Event[Any], fact: Moved) -> None:
    release = _release(state, event, fact)
    check_not_revoked(state, release)
    policy, generation = policy_now(state), generation_of(state, fact.adapter, fact.channel)
    if fact.policy != policy.digest:
        raise _no(event, f"the policy is {policy.digest[:12]}, not {fact.policy[:12]}", "Look at it, and decide again.")
    if fact.generation != generation + 1:
        what = f"the channel is at generation {generation}: the next is not {fact.generation}"
        raise _no(event, what, "Look at what is there now, and decide again.")
    MOVES[fact.how](state, event, release)


def _promotion(state: State, event: Event[Any], release: Released) -> None:
    channel = event.fact.channel
    if event.fact.expires is not None:
        raise _no(event, "a promotion does not expire", "Leave --expires out.")
    if missing := standing(state, release, channel, event.at).missing(channel):
        what = f"it may not go to {channel}: {'; '.join(missing)}"
        raise RegistryError(what, where=release.name, mend=PROMOTE_HINT)


def _rollback(state: State, event: Event[Any], release: Released) -> None:
    fact = event.fact
    if fact.expires is not None or fact.reason is None:
        raise _no(event, "a rollback has a reason, and does not expire", "Say why by --reason.")
    rollback_target(state, fact.adapter, fact.channel, release.number, event.at)


def _break_glass(state: State, event: Event[Any], release: Released) -> None:
    fact = event.fact
    if fact.expires is None or fact.reason is None:
        raise _no(event, "break-glass has a reason and an end", "Give --reason and --expires.")
    if not timedelta() < time_of(fact.expires) - time_of(event.at) <= LONGEST_GLASS:
        what = f"break-glass lasts {LONGEST_GLASS.days} days at most"
        raise RegistryError(what, where="--expires", mend="Say less, and have the release approved meanwhile.")


def _revoked(state: State, event: Event[Any], fact: Revoked) -> None:
    if fact.brought is not None:
        return
    if (state.numbers.get(fact.adapter) or 0) < fact.number:
        raise _no(event, f"there is no release {fact.name}", "See `worldtune registry list`.")
    _only_once(event, state.revoked.get(fact.digest) or ())


def _base_revoked(state: State, event: Event[Any], fact: BaseRevoked) -> None:
    if fact.brought is None:
        _only_once(event, state.revoked_bases.get(fact.base) or ())


def _only_once(event: Event[Any], revocations: tuple[Event[Any], ...]) -> None:
    """Another registry's does not hinder: it need not hold wherever this one's do."""
    for known in revocations:
        if known.fact.brought is None:
            raise _no(event, f"it is revoked already: {known.fact.reason}", "Nothing is to be done.")


def _derived(state: State, event: Event[Any], fact: Derived) -> None:
    for source in fact.sources:
        if source not in state.by_digest and source not in state.made:
            what = f"{source!r} is no release, and no digest of what came from one"
            raise _no(event, what, "Name a release as NAME@NUMBER, or the digest of what came from one.")


def _published(state: State, event: Event[Any], fact: Published) -> None:
    check_not_revoked(state, _release(state, event, fact))


def _clock_set(state: State, event: Event[Any], fact: ClockSet) -> None:
    founded = state.founded_at
    if fact.ahead != state.clock or event.at >= fact.ahead:
        what = f"the log's last event is of {state.clock}, which is not ahead of this clock"
        raise RegistryError(what, where="clock", mend="Nothing is to be done.")
    if event.at < founded:
        what = f"this machine's clock says {event.at}, and the registry was founded on {founded}"
        raise RegistryError(what, where="clock", mend="Set this clock right.")


def next_number(state: State, adapter: str) -> int:
    """The next number of a name: one more than any that there ever was."""
    return (state.numbers.get(adapter) or 0) + 1


def generation_of(state: State, adapter: str, channel: str) -> int:
    """How often a channel was moved, by whomever; 0 for never."""
    return state.generations.get(f"{adapter}@{channel}") or 0


def _release(state: State, event: Event[Any], fact: OfRelease) -> Released:
    """The release that a fact is about. Raises RegistryError when there is none of that name with those bytes."""
    found = state.releases.get(fact.name)
    if found is None or found.fact.digest != fact.digest:
        raise _no(event, f"there is no release {fact.name} of {fact.digest[:12]}", "See `worldtune registry list`.")
    return found.fact


def _no(event: Event[Any], what: str, mend: str) -> RegistryError:
    where = event.fact.name if isinstance(event.fact, OfRelease) else event.fact.kind
    return RegistryError(what, where=where, mend=mend)


Rule = Callable[[State, Event[Any], Any], None]
MOVES: dict[str, Rule] = {"promotion": _promotion, "rollback": _rollback, "break-glass": _break_glass}
RULES: dict[type[Fact], Rule] = {
    Founded: _founded, Enrolled: _enrolled, Retired: _retired, PolicySet: _policy_set, Expected: _expected,
    Released: _released, Labelled: _labelled, Evaluated: _evaluated, Approved: _approved, Withdrawn: _withdrawn,
    Moved: _moved, Revoked: _revoked, BaseRevoked: _base_revoked, Derived: _derived, Published: _published,
    ClockSet: _clock_set,
}  # fmt: skip
