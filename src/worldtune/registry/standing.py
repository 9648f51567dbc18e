"""What speaks for and against a release: evidence, approvals, and what has changed since it was judged.

The rules of promotion and rollback are here, and are asked by the reducer alone and by what shows them to people.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from worldtune.errors import RegistryError
from worldtune.registry.facts import Approved, BaseRevoked, Evaluated, Released, Revoked
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.state import State
from worldtune.registry.manifest import canonical, parse_json
from worldtune.registry.policy import Policy
from worldtune.registry.releases import channel_head, check_not_revoked, moves_of, revocation
from worldtune.registry.statements import said
from worldtune.strict import parse

EXPECTED = ("base", "calibration")
OF_EVIDENCE = ("suite", "gates")
POLICY = "now"


@dataclass(frozen=True)
class Standing:
    """`evidence` and `approvals` are those that count now; `stale` says what changed since, `lapsed` what they lack."""

    release: Released
    revoked: Event[Revoked] | Event[BaseRevoked] | None
    evidence: Event[Evaluated] | None
    approvals: tuple[Event[Approved], ...]
    policy: Policy
    stale: tuple[str, ...]
    lapsed: tuple[str, ...]

    def missing(self, channel: str) -> list[str]:
        """All that the policy asks for before `channel` may point to it, and that it lacks."""
        rule = self.policy.rule(channel)
        missing = [reason for reason in self.stale if not reason.startswith("policy")]  # approvals are of this policy
        if rule.evidence and self.evidence is None:
            missing += [why for why in self.lapsed if not why.startswith("approval") and why not in missing]
        if len(self.approvals) < rule.approvals:
            missing.append(f"approvals: {len(self.approvals)} of {rule.approvals}, by people who did not make it")
            missing += [why for why in self.lapsed if why.startswith("approval")]
        return missing


def policy_now(state: State) -> Policy:
    """The policy that holds. Raises RegistryError when there is none."""
    event = state.policies.get(POLICY)
    if event is None:
        mend = "An administrator must set one: worldtune registry policy FILE."
        raise RegistryError("no policy holds: none was set by a key that can be trusted", where="policy", mend=mend)
    return _policy(canonical(event.fact.content))


@lru_cache(maxsize=64)
def _policy(content: bytes) -> Policy:
    return parse(Policy, parse_json(content, "policy"), "policy")


def expectations(state: State, adapter: str) -> dict[str, str]:
    """What must be now, by kind: of the longest scope that holds the adapter."""
    found: dict[str, tuple[int, str]] = {}
    for event in state.expected.values():
        its = event.fact
        holds = its.scope in ("*", adapter) or adapter.startswith(f"{its.scope}/")
        length = 0 if its.scope == "*" else len(its.scope)
        if holds and length >= found.get(its.what, (0, ""))[0]:
            found[its.what] = (length, its.digest)
    return {what: digest for what, (_, digest) in found.items()}


def standing(state: State, release: Released, channel: str | None, at: str) -> Standing:
    """How a release stands at a time; its approvals are those for `channel`.

    That the policy changed since it was let in is told, and is no fault.
    """
    expected = expectations(state, release.adapter)
    stale = [
        f"{what}: it has {_short(getattr(release, what))}, and now {expected[what][:12]} is expected"
        for what in EXPECTED
        if what in expected and getattr(release, what) != expected[what]
    ]
    evidence, why = _evidence(state, release, expected, at)
    stale += [reason for reason in why if reason.startswith(OF_EVIDENCE)]
    policy = policy_now(state)
    approvals, lapsed = _approvals(state, release, channel, at, policy.digest) if channel else ([], [])
    let_in = channel_head(state, release.adapter, channel) if channel else None
    if let_in and let_in.event.fact.number == release.number and let_in.event.fact.policy != policy.digest:
        then = let_in.event.fact.policy[:12]
        stale.append(f"policy: it was let in under {then}, and now {policy.digest[:12]} holds")
    revoked = revocation(state, release)
    return Standing(release, revoked, evidence, tuple(approvals), policy, tuple(stale), (*why, *lapsed))


def _evidence(
    state: State, release: Released, expected: dict[str, str], at: str
) -> tuple[Event[Evaluated] | None, list[str]]:
    """The newest evaluation that counts; and why not, of the newest that does not."""
    reasons: list[str] = []
    for event in reversed(state.evaluations.get(release.digest) or ()):
        its = event.fact
        why = [
            f"{what}: it was judged by {getattr(its, what)[:12]}, and now {expected[what][:12]} is expected"
            for what in OF_EVIDENCE
            if what in expected and getattr(its, what) != expected[what]
        ]
        if not why and its.outcome != "pass":  # the newest decides, not the best: a fail does not expire
            return None, [f"evidence: the gates say {its.outcome}"]
        if over := _over(state, event, at):
            why.append(f"evidence: {over}")
        if not why:
            return event, []
        reasons = reasons or why
    return None, reasons or ["evidence: there is no evaluation"]


def _approvals(
    state: State, release: Released, channel: str, at: str, policy: str
) -> tuple[list[Event[Approved]], list[str]]:
    """One approval a person: the latest, if it counts; and why the others do not."""
    counted: dict[str, Event[Approved]] = {}
    lapsed: list[str] = []
    for event, why in weighed_approvals(state, release, channel, at):
        its = event.fact
        if why is None and its.policy != policy:
            why = f"that of {its.person} was under another policy, {its.policy[:12]}"
            if its.brought is not None:  # under another registry's, it says nothing of what was said under this one's
                lapsed.append(f"approval: {why}")
                continue
        counted.pop(its.person, None)
        if why is None:
            counted[its.person] = event
        else:
            lapsed.append(f"approval: {why}")
    return list(counted.values()), lapsed


def weighed_approvals(
    state: State, release: Released, channel: str, at: str
) -> Iterator[tuple[Event[Approved], str | None]]:
    """Every approval in order, with the reason why it does not count, under whatever policy it was given."""
    key = approval_key(release, channel)
    withdrawals = state.withdrawals.get(key) or ()
    for event in state.approvals.get(key) or ():
        person, why = event.fact.person, None
        if is_taken_back(event, withdrawals):
            why = f"{person} took it back"
        elif over := _over(state, event, at):
            why = f"that of {person}: {over}"
        yield event, why


def approval_key(release: Any, channel: str) -> str:
    """Approvals are of bytes, under one name, for one channel."""
    return f"{release.digest} {release.adapter}@{channel}"


def made_at(event: Event[Any]) -> str:
    """When something was said: here, or where it was brought from."""
    if event.fact.brought is None:
        return event.at
    stated = str(said(event.fact.brought.encode(), f"event {event.sequence}")["predicate"].get("at", ""))
    return min(stated, event.at)  # no statement is newer than the import that brought it


def rollback_target(state: State, adapter: str, channel: str, to: int | None, at: str) -> Released:
    """The release that a channel may go back to: `to`, else the newest from before the present one was promoted.

    It was promoted in this channel, was not rolled away from since, is still approved and not revoked. Raises
    RegistryError when there is none, and says why of each.
    """
    where, moves = f"{adapter}@{channel}", moves_of(state, adapter, channel)
    if not moves:
        raise RegistryError("the channel never held a release", where=where, mend="Promote one.")
    present = moves[-1].event.fact.number
    away: set[int] = set()
    for before, move in zip([None, *moves], moves, strict=False):
        if move.event.fact.how == "rollback" and before is not None:
            away.add(before.event.fact.number)
        else:
            away.discard(move.event.fact.number)
    promoted = [move.event.fact for move in moves if move.event.fact.how != "rollback"]
    by_rule = {fact.number for fact in promoted if fact.how == "promotion"}
    arrived = max((fact.generation for fact in promoted if fact.number == present), default=1)
    reasons: dict[int, str] = {}
    for fact in reversed(promoted):
        number = fact.number
        if number == present or number in reasons or (to is not None and number != to):
            continue
        if to is None and (fact.generation > arrived or number in away):
            continue
        if number not in by_rule:
            why: str | None = "let in by break-glass only"
        elif number in away:
            why = "one that was rolled away from: promote it again"
        else:
            why = _not_again(state, state.releases[fact.name].fact, channel, at)
        if why is None:
            return state.releases[fact.name].fact
        reasons[number] = why
    told = "; ".join(f"{number} is {why}" for number, why in reasons.items()) or (
        f"{to} never was there before" if to is not None else "it never held another before"
    )
    mend = f"Have one approved, or promote another: worldtune registry show {adapter}."
    raise RegistryError(f"nothing can be gone back to: {told}", where=where, mend=mend)


def _not_again(state: State, release: Released, channel: str, at: str) -> str | None:
    """Why a channel cannot go back to a release, if so."""
    try:
        check_not_revoked(state, release)
    except RegistryError as error:
        return f"not to be used ({error.what})"
    if len(still_approved(state, release, channel, at)) < policy_now(state).rule(channel).approvals:
        return "not approved any more"
    return None


def still_approved(state: State, release: Released, channel: str, at: str) -> list[Event[Approved]]:
    """Approvals that count except for the policy they were given under, one a person."""
    weighed = weighed_approvals(state, release, channel, at)
    latest = {event.fact.person: (event, why) for event, why in weighed}
    return [event for event, why in latest.values() if why is None]


def is_taken_back(approval: Event[Approved], withdrawals: Iterable[Event[Any]]) -> bool:
    """One that was given elsewhere before it was taken back here does not come back by an import."""
    return any(
        taken.sequence > approval.sequence or (approval.fact.brought is not None and made_at(approval) <= taken.at)
        for taken in withdrawals
        if taken.actor == approval.fact.person
    )


def _over(state: State, event: Event[Any], at: str) -> str | None:
    """Why what somebody said for a time does not hold any more, if so."""
    if at >= event.fact.expires:
        return f"it expired on {event.fact.expires[:10]}"
    return "a clock that was ahead dated it" if state.dated_ahead(event) else None


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
