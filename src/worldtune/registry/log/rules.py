"""The rules: the only place that decides whether an event is allowed at its time.

`check_event` is called before an event is written, and when one is read, imported or verified, with the same result.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from worldtune.core.settings import parse_model
from worldtune.errors import RecipeError, RegistryError
from worldtune.registry.clock import parse_time
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
    ReleaseFact,
    ReleasePublished,
    ReleaseRevoked,
    UnreadableFact,
)
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.imported_statements import check_imported
from worldtune.registry.log.permissions import check_signer
from worldtune.registry.log.release_status import approval_key, current_policy, release_status, rollback_target
from worldtune.registry.log.resolve import check_not_revoked, find_revocation, releases_with_digest
from worldtune.registry.log.state import State
from worldtune.registry.names import is_name
from worldtune.registry.policy import Policy
from worldtune.registry.signing.keys import parse_public_key

MAX_BREAK_GLASS = timedelta(days=7)
PROMOTE_HINT = "Evaluate it again or have it approved; in an emergency an administrator can use --break-glass."


def check_event(state: State, event: Event[Any]) -> None:
    """Raise RegistryError, listing everything that is missing, unless the rules allow the event in this state."""
    fact = event.fact
    if isinstance(fact, UnreadableFact):
        hint = "Ignore it: worldtune did not write it."
        raise _violation(event, f"not a valid {fact.stated}: {fact.why}", hint)
    if isinstance(fact, RegistryCreated) != (event.sequence == 1):
        raise _violation(event, "a registry is created once, by its first event", "Ignore it.")
    check_signer(state, event)
    if fact.imported_statement is not None:
        check_imported(state, event)
    RULES[type(fact)](state, event, fact)


def _registry_created(state: State, event: Event[Any], fact: RegistryCreated) -> None:
    if fact.registry != state.registry:
        raise _violation(event, "the event creates another registry", "Ignore it.")


def _key_added(state: State, event: Event[Any], fact: KeyAdded) -> None:
    try:
        key = parse_public_key(fact.public)
    except ValueError as error:
        raise _violation(event, str(error), "Give the .pub file that `registry key` wrote.") from error
    if known := state.identities.get(key.keyid):
        raise _violation(event, f"this key is already enrolled for {known.person}", "Enroll a new key.")


def _key_retired(state: State, event: Event[Any], fact: KeyRetired) -> None:
    known = state.identities.get(fact.key)
    if known is None or known.person != fact.person:
        raise _violation(event, f"{fact.person} has no such key", "See `worldtune registry people`.")
    others = (identity for key, identity in state.identities.items() if key != fact.key)
    if not any(identity.is_administrator(event.at) for identity in others):
        what = "the registry would have no administrator left"
        raise RegistryError(what, where=fact.key[:12], hint="Enroll another administrator first.")


def _policy_set(state: State, event: Event[Any], fact: PolicySet) -> None:
    try:
        policy = parse_model(Policy, fact.content, "policy")
    except RecipeError as error:
        raise _violation(event, error.what, "Write the file as docs/registry.md shows.") from error
    if policy.digest != fact.policy or policy.model_dump(mode="json") != fact.content:
        raise _violation(event, "the policy does not match its digest", "Set it with `worldtune registry policy`.")


def _expectation_set(state: State, event: Event[Any], fact: ExpectationSet) -> None:
    if fact.scope != "*" and not is_name(fact.scope):
        raise _violation(event, f"{fact.scope!r} is not a scope", "Use a name such as cell7/front, or * for all.")


def _release_added(state: State, event: Event[Any], fact: ReleaseAdded) -> None:
    if fact.number != next_number(state, fact.adapter):
        raise _violation(
            event, f"the next number of {fact.adapter} is {next_number(state, fact.adapter)}", "Add it again."
        )
    for known in releases_with_digest(state, fact.digest):
        if known.fact.adapter == fact.adapter:
            raise _violation(event, f"these bytes are already released as {known.fact.name}", "Use that release.")
    check_bytes_not_revoked(state, fact)
    if fact.parent == fact.digest:
        raise _violation(event, "a release cannot be its own parent", "Omit --parent.")
    for parent in releases_with_digest(state, fact.parent)[:1] if fact.parent else ():
        if revoked := find_revocation(state, parent.fact):
            what = f"its parent {parent.fact.name} is revoked: {revoked.fact.reason}"
            raise _violation(event, what, "Train from another release, or omit --parent if it is not the parent.")


def check_bytes_not_revoked(state: State, release: ReleaseAdded) -> None:
    """Raise RegistryError if these bytes, under any name, or their base are revoked."""
    if revoked := find_revocation(state, release):
        if isinstance(revoked.fact, BaseRevoked):
            what = f"its base {release.base[:12]} is revoked: {revoked.fact.reason}"
        else:
            what = f"these bytes were revoked as {revoked.fact.name}: {revoked.fact.reason}"
        raise RegistryError(what, where=release.adapter, hint="Add another adapter.")


def _labeled(state: State, event: Event[Any], fact: Labeled) -> None:
    if fact.adapter not in state.labels:
        raise _violation(event, f"there is no adapter {fact.adapter}", "See `worldtune registry list`.")


def _release_evaluated(state: State, event: Event[Any], fact: ReleaseEvaluated) -> None:
    release = _find_release(state, event, fact)
    if fact.base != release.base:
        raise _violation(event, "base: the evaluation used another base", "Evaluate it on the base in its card.")


def _release_approved(state: State, event: Event[Any], fact: ReleaseApproved) -> None:
    release = _find_release(state, event, fact)
    check_not_revoked(state, release)
    if fact.person in {
        duplicate.fact.author for duplicate in releases_with_digest(state, release.digest)
    }:  # under any name
        raise _violation(event, f"{fact.person} made it and cannot approve it", "Ask another approver.")


def _approval_withdrawn(state: State, event: Event[Any], fact: ApprovalWithdrawn) -> None:
    release = _find_release(state, event, fact)
    given = state.approvals.get(approval_key(release, fact.channel)) or ()
    if not any(approval.fact.person == event.actor for approval in given):
        raise _violation(
            event, f"{event.actor} did not approve it for {fact.channel}", "See `worldtune registry show`."
        )


def _channel_updated(state: State, event: Event[Any], fact: ChannelUpdated) -> None:
    release = _find_release(state, event, fact)
    check_not_revoked(state, release)
    policy, generation = current_policy(state), channel_generation(state, fact.adapter, fact.channel)
    if fact.policy != policy.digest:
        raise _violation(
            event, f"the policy is {policy.digest[:12]}, not {fact.policy[:12]}", "Check the policy, then decide again."
        )
    if fact.generation != generation + 1:
        what = f"the channel is at generation {generation}, so the next is not {fact.generation}"
        raise _violation(event, what, "Check the channel, then decide again.")
    ACTION_RULES[fact.action](state, event, release)


def _promotion(state: State, event: Event[Any], release: ReleaseAdded) -> None:
    channel = event.fact.channel
    if event.fact.expires is not None:
        raise _violation(event, "a promotion does not expire", "Omit --expires.")
    if missing := release_status(state, release, channel, event.at).missing(channel):
        what = f"the release may not be promoted to {channel}: {'; '.join(missing)}"
        raise RegistryError(what, where=release.name, hint=PROMOTE_HINT)


def _rollback(state: State, event: Event[Any], release: ReleaseAdded) -> None:
    fact = event.fact
    if fact.expires is not None or fact.reason is None:
        raise _violation(event, "a rollback needs a reason and does not expire", "Give --reason and no expiry.")
    rollback_target(state, fact.adapter, fact.channel, release.number, event.at)


def _break_glass(state: State, event: Event[Any], release: ReleaseAdded) -> None:
    fact = event.fact
    if fact.expires is None or fact.reason is None:
        raise _violation(event, "break-glass needs a reason and an expiry", "Give --reason and --expires.")
    if not timedelta() < parse_time(fact.expires) - parse_time(event.at) <= MAX_BREAK_GLASS:
        what = f"break-glass lasts {MAX_BREAK_GLASS.days} days at most"
        hint = "Give a shorter --expires, and have the release approved meanwhile."
        raise RegistryError(what, where="--expires", hint=hint)


def _release_revoked(state: State, event: Event[Any], fact: ReleaseRevoked) -> None:
    if fact.imported_statement is not None:
        return
    if (state.numbers.get(fact.adapter) or 0) < fact.number:
        raise _violation(event, f"there is no release {fact.name}", "See `worldtune registry list`.")
    _check_not_yet_revoked(event, state.revoked.get(fact.digest) or ())


def _base_revoked(state: State, event: Event[Any], fact: BaseRevoked) -> None:
    if fact.imported_statement is None:
        _check_not_yet_revoked(event, state.revoked_bases.get(fact.base) or ())


def _check_not_yet_revoked(event: Event[Any], revocations: tuple[Event[Any], ...]) -> None:
    """Raise RegistryError if this registry already has a revocation; another registry's does not count here."""
    for known in revocations:
        if known.fact.imported_statement is None:
            raise _violation(event, f"it is already revoked: {known.fact.reason}", "Nothing to do.")


def _artifact_derived(state: State, event: Event[Any], fact: ArtifactDerived) -> None:
    for source in fact.sources:
        if source not in state.names_by_digest and source not in state.derived_sequences:
            what = f"{source!r} is neither a release nor the digest of data made with one"
            raise _violation(event, what, "Give NAME@NUMBER, or the digest of data recorded by `registry derive`.")


def _release_published(state: State, event: Event[Any], fact: ReleasePublished) -> None:
    check_not_revoked(state, _find_release(state, event, fact))


def _clock_set(state: State, event: Event[Any], fact: ClockSet) -> None:
    if fact.previous_time != state.clock or event.at >= fact.previous_time:
        what = f"the log's last event is dated {state.clock}, which is not ahead of this clock"
        raise RegistryError(what, where="clock", hint="Nothing to do.")
    if event.at < state.created_at:
        what = f"this machine's clock shows {event.at}, but the registry was created on {state.created_at}"
        raise RegistryError(what, where="clock", hint="Correct this machine's clock.")


def next_number(state: State, adapter: str) -> int:
    """Return the next release number of a name: one more than any number ever used."""
    return (state.numbers.get(adapter) or 0) + 1


def channel_generation(state: State, adapter: str, channel: str) -> int:
    """Return how often a channel was moved; 0 for never."""
    return state.generations.get(f"{adapter}@{channel}") or 0


def _find_release(state: State, event: Event[Any], fact: ReleaseFact) -> ReleaseAdded:
    """Return the release of an event. Raise RegistryError if no release has that name and those bytes."""
    found = state.releases.get(fact.name)
    if found is None or found.fact.digest != fact.digest:
        raise _violation(
            event, f"there is no release {fact.name} with digest {fact.digest[:12]}", "See `worldtune registry list`."
        )
    return found.fact


def _violation(event: Event[Any], what: str, hint: str) -> RegistryError:
    where = event.fact.name if isinstance(event.fact, ReleaseFact) else event.fact.kind
    return RegistryError(what, where=where, hint=hint)


RuleFunction = Callable[[State, Event[Any], Any], None]
ACTION_RULES: dict[str, RuleFunction] = {"promotion": _promotion, "rollback": _rollback, "break-glass": _break_glass}
RULES: dict[type[Fact], RuleFunction] = {
    RegistryCreated: _registry_created, KeyAdded: _key_added, KeyRetired: _key_retired, PolicySet: _policy_set,
    ExpectationSet: _expectation_set,
    ReleaseAdded: _release_added, Labeled: _labeled, ReleaseEvaluated: _release_evaluated,
    ReleaseApproved: _release_approved, ApprovalWithdrawn: _approval_withdrawn,
    ChannelUpdated: _channel_updated, ReleaseRevoked: _release_revoked, BaseRevoked: _base_revoked,
    ArtifactDerived: _artifact_derived, ReleasePublished: _release_published,
    ClockSet: _clock_set,
}  # fmt: skip
