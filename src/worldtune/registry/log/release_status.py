"""The status of a release: its evidence, its approvals, and what changed since it was evaluated.

The rules of promotion and rollback are here. Only the reducer and the code that displays them call them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from worldtune.core.canonical_json import canonical_json
from worldtune.core.settings import parse_model
from worldtune.errors import RegistryError
from worldtune.registry.events.events import (
    BaseRevoked,
    ReleaseAdded,
    ReleaseApproved,
    ReleaseEvaluated,
    ReleaseRevoked,
)
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.resolve import channel_head, check_not_revoked, find_revocation, list_moves
from worldtune.registry.log.state import State
from worldtune.registry.policy import Policy
from worldtune.registry.signing.dsse import unverified_statement
from worldtune.registry.store.manifest import parse_json

RELEASE_REQUIREMENTS = ("base", "calibration")
EVIDENCE_REQUIREMENTS = ("suite", "gates")
POLICY_KEY = "now"


@dataclass(frozen=True)
class ReleaseStatus:
    """The status of a release now.

    `evidence` and `approvals` count; `stale` says what changed since, `not_counted` why others do not count.
    """

    release: ReleaseAdded
    revoked: Event[ReleaseRevoked] | Event[BaseRevoked] | None
    evidence: Event[ReleaseEvaluated] | None
    approvals: tuple[Event[ReleaseApproved], ...]
    policy: Policy
    stale: tuple[str, ...]
    not_counted: tuple[str, ...]

    def missing(self, channel: str) -> list[str]:
        """Return every requirement of the policy for `channel` that the release does not meet."""
        rule = self.policy.rule_for(channel)
        missing = [reason for reason in self.stale if not reason.startswith("policy")]  # approvals cover the policy
        if rule.evidence and self.evidence is None:
            missing += [why for why in self.not_counted if not why.startswith("approval") and why not in missing]
        if len(self.approvals) < rule.approvals:
            missing.append(f"approvals: {len(self.approvals)} of {rule.approvals} by people other than the author")
            missing += [why for why in self.not_counted if why.startswith("approval")]
        return missing


def current_policy(state: State) -> Policy:
    """Return the policy in force. Raise RegistryError if there is none."""
    event = state.policies.get(POLICY_KEY)
    if event is None:
        hint = "An administrator must set one: worldtune registry policy FILE."
        raise RegistryError("no policy was set by a trusted key", where="policy", hint=hint)
    return _parse_policy(canonical_json(event.fact.content))


@lru_cache(maxsize=64)
def _parse_policy(content: bytes) -> Policy:
    return parse_model(Policy, parse_json(content, "policy"), "policy")


def expectations(state: State, adapter: str) -> dict[str, str]:
    """Return the expected digest of each requirement, from the longest scope that contains the adapter."""
    found: dict[str, tuple[int, str]] = {}
    for event in state.expected.values():
        fact = event.fact
        holds = fact.scope in ("*", adapter) or adapter.startswith(f"{fact.scope}/")
        length = 0 if fact.scope == "*" else len(fact.scope)
        if holds and length >= found.get(fact.requirement, (0, ""))[0]:
            found[fact.requirement] = (length, fact.digest)
    return {requirement: digest for requirement, (_, digest) in found.items()}


def release_status(state: State, release: ReleaseAdded, channel: str | None, at: str) -> ReleaseStatus:
    """Return the status of a release at a time, with its approvals for `channel`.

    `stale` also lists a policy change since the promotion, which does not block the release.
    """
    expected = expectations(state, release.adapter)
    stale = [
        f"{name}: the release has {_short_digest(getattr(release, name))}, expected is {expected[name][:12]}"
        for name in RELEASE_REQUIREMENTS
        if name in expected and getattr(release, name) != expected[name]
    ]
    evidence, why = _evidence(state, release, expected, at)
    stale += [reason for reason in why if reason.startswith(EVIDENCE_REQUIREMENTS)]
    policy = current_policy(state)
    approvals, not_counted = _approvals(state, release, channel, at, policy.digest) if channel else ([], [])
    current = channel_head(state, release.adapter, channel) if channel else None
    if current and current.event.fact.number == release.number and current.event.fact.policy != policy.digest:
        then = current.event.fact.policy[:12]
        stale.append(f"policy: promoted under {then}, now {policy.digest[:12]} is in force")
    revoked = find_revocation(state, release)
    return ReleaseStatus(release, revoked, evidence, tuple(approvals), policy, tuple(stale), (*why, *not_counted))


def _evidence(
    state: State, release: ReleaseAdded, expected: dict[str, str], at: str
) -> tuple[Event[ReleaseEvaluated] | None, list[str]]:
    """Return the newest evaluation that counts, or None with the reasons why the newest one does not."""
    reasons: list[str] = []
    for event in reversed(state.evaluations.get(release.digest) or ()):
        fact = event.fact
        why = [
            f"{name}: the evaluation used {getattr(fact, name)[:12]}, expected is {expected[name][:12]}"
            for name in EVIDENCE_REQUIREMENTS
            if name in expected and getattr(fact, name) != expected[name]
        ]
        if not why and fact.outcome != "pass":  # the newest evaluation decides, and a fail does not expire
            return None, [f"evidence: the gates say {fact.outcome}"]
        if over := _why_expired(state, event, at):
            why.append(f"evidence: {over}")
        if not why:
            return event, []
        reasons = reasons or why
    return None, reasons or ["evidence: there is no evaluation"]


def _approvals(
    state: State, release: ReleaseAdded, channel: str, at: str, policy: str
) -> tuple[list[Event[ReleaseApproved]], list[str]]:
    """Return each person's latest approval if it counts, and why the others do not."""
    counted: dict[str, Event[ReleaseApproved]] = {}
    not_counted: list[str] = []
    for event, why in assess_approvals(state, release, channel, at):
        fact = event.fact
        if why is None and fact.policy != policy:
            why = f"{fact.person} approved under another policy, {fact.policy[:12]}"
            if (
                fact.imported_statement is not None
            ):  # an approval under another registry's policy does not replace one under this registry's
                not_counted.append(f"approval: {why}")
                continue
        counted.pop(fact.person, None)
        if why is None:
            counted[fact.person] = event
        else:
            not_counted.append(f"approval: {why}")
    return list(counted.values()), not_counted


def assess_approvals(
    state: State, release: ReleaseAdded, channel: str, at: str
) -> Iterator[tuple[Event[ReleaseApproved], str | None]]:
    """Yield every approval in order, with the reason why it does not count. The policy is not checked."""
    key = approval_key(release, channel)
    withdrawals = state.withdrawals.get(key) or ()
    for event in state.approvals.get(key) or ():
        person, why = event.fact.person, None
        if is_withdrawn(event, withdrawals):
            why = f"{person} withdrew it"
        elif over := _why_expired(state, event, at):
            why = f"by {person}: {over}"
        yield event, why


def approval_key(release: Any, channel: str) -> str:
    """Return the key of the approvals of these bytes, under this name, for this channel."""
    return f"{release.digest} {release.adapter}@{channel}"


def stated_at(event: Event[Any]) -> str:
    """Return when an event was stated: here, or in the registry that it was imported from."""
    if event.fact.imported_statement is None:
        return event.at
    stated = str(
        unverified_statement(event.fact.imported_statement.encode(), f"event {event.sequence}")["predicate"].get(
            "at", ""
        )
    )
    return min(stated, event.at)  # a statement is not newer than its import


def rollback_target(state: State, adapter: str, channel: str, to: int | None, at: str) -> ReleaseAdded:
    """Return the release that a channel may roll back to: `to`, else the newest before the current one was promoted.

    It was promoted in this channel, was not rolled back since, is still approved and not revoked. Raise RegistryError,
    with the reason for each candidate, if there is none.
    """
    where, moves = f"{adapter}@{channel}", list_moves(state, adapter, channel)
    if not moves:
        raise RegistryError("the channel never held a release", where=where, hint="Promote a release.")
    present = moves[-1].event.fact.number
    rolled_back: set[int] = set()
    for before, move in zip([None, *moves], moves, strict=False):
        if move.event.fact.action == "rollback" and before is not None:
            rolled_back.add(before.event.fact.number)
        else:
            rolled_back.discard(move.event.fact.number)
    promoted = [move.event.fact for move in moves if move.event.fact.action != "rollback"]
    by_rule = {fact.number for fact in promoted if fact.action == "promotion"}
    promoted_at = max((fact.generation for fact in promoted if fact.number == present), default=1)
    reasons: dict[int, str] = {}
    for fact in reversed(promoted):
        number = fact.number
        if number == present or number in reasons or (to is not None and number != to):
            continue
        if to is None and (fact.generation > promoted_at or number in rolled_back):
            continue
        if number not in by_rule:
            why: str | None = "promoted by break-glass only"
        elif number in rolled_back:
            why = "rolled back: promote it again"
        else:
            why = _why_no_rollback(state, state.releases[fact.name].fact, channel, at)
        if why is None:
            return state.releases[fact.name].fact
        reasons[number] = why
    details = "; ".join(f"{number} is {why}" for number, why in reasons.items()) or (
        f"the channel did not hold {to} before" if to is not None else "the channel held no other release before"
    )
    hint = f"Have a release approved, or promote another: worldtune registry show {adapter}."
    raise RegistryError(f"no release to roll back to: {details}", where=where, hint=hint)


def _why_no_rollback(state: State, release: ReleaseAdded, channel: str, at: str) -> str | None:
    """Return why a channel cannot roll back to a release, or None if it can."""
    try:
        check_not_revoked(state, release)
    except RegistryError as error:
        return f"blocked ({error.what})"
    if len(valid_approvals(state, release, channel, at)) < current_policy(state).rule_for(channel).approvals:
        return "no longer approved"
    return None


def valid_approvals(state: State, release: ReleaseAdded, channel: str, at: str) -> list[Event[ReleaseApproved]]:
    """Return each person's latest approval if it counts under any policy."""
    weighed = assess_approvals(state, release, channel, at)
    latest = {event.fact.person: (event, why) for event, why in weighed}
    return [event for event, why in latest.values() if why is None]


def is_withdrawn(approval: Event[ReleaseApproved], withdrawals: Iterable[Event[Any]]) -> bool:
    """Return whether an approval was withdrawn. Importing an approval older than the withdrawal does not restore it."""
    return any(
        withdrawal.sequence > approval.sequence
        or (approval.fact.imported_statement is not None and stated_at(approval) <= withdrawal.at)
        for withdrawal in withdrawals
        if withdrawal.actor == approval.fact.person
    )


def _why_expired(state: State, event: Event[Any], at: str) -> str | None:
    """Return why an evaluation or approval has expired, or None if it has not."""
    if at >= event.fact.expires:
        return f"it expired on {event.fact.expires[:10]}"
    return "its date is from a clock that was ahead" if state.was_dated_ahead(event) else None


def _short_digest(digest: str | None) -> str:
    return digest[:12] if digest else "none"
