"""What speaks for and against a release now: evidence, approvals, and what has changed since it was judged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from worldtune.errors import RegistryError
from worldtune.registry.brought import counts
from worldtune.registry.clock import time_after
from worldtune.registry.facts import (
    Approved,
    Evaluated,
    Expected,
    Moved,
    OfRelease,
    PolicySet,
    Released,
    Revoked,
    Withdrawn,
)  # fmt: skip
from worldtune.registry.policy import Policy
from worldtune.registry.record import Event, View
from worldtune.registry.releases import revocation
from worldtune.strict import parse

EXPECTED = ("base", "calibration")
OF_EVIDENCE = ("suite", "gates")


@dataclass(frozen=True)
class Standing:
    """`evidence` and `approvals` are those that count now; `stale` says what changed since, `lapsed` what they lack."""

    release: Released
    revoked: Event[Revoked] | None
    evidence: Event[Evaluated] | None
    approvals: tuple[Event[Approved], ...]
    policy: Policy
    stale: tuple[str, ...]
    lapsed: tuple[str, ...]


def policy_now(view: View) -> Policy:
    """The policy that holds. Raises RegistryError when there is none, or its text is not that of its digest."""
    found = view.facts(PolicySet)
    if not found:
        mend = "An administrator must set one: worldtune registry policy FILE."
        raise RegistryError("no policy holds: none was set by a key that can be trusted", where="policy", mend=mend)
    newest = found[-1].fact
    policy = parse(Policy, newest.content, "policy")
    if policy.digest != newest.policy:
        raise RegistryError("the policy's text is not that of its digest", where="policy", mend="Run registry verify.")
    return policy


def expectations(view: View, adapter: str) -> dict[str, str]:
    """What must be now, by kind: of the longest scope that holds the adapter, the latest."""
    found: dict[str, tuple[int, str]] = {}
    for event in view.facts(Expected):
        its = event.fact
        holds = its.scope in ("*", adapter) or adapter.startswith(f"{its.scope}/")
        length = 0 if its.scope == "*" else len(its.scope)
        if holds and length >= found.get(its.what, (0, ""))[0]:
            found[its.what] = (length, its.digest)
    return {what: digest for what, (_, digest) in found.items()}


def standing(view: View, release: Released, channel: str | None = None) -> Standing:
    """How a release stands; its approvals are those for `channel`. That the policy changed is told; it is no fault."""
    now, expected = time_after(view.head().at), expectations(view, release.adapter)
    stale = [
        f"{what}: it has {_short(getattr(release, what))}, and now {expected[what][:12]} is expected"
        for what in EXPECTED
        if what in expected and getattr(release, what) != expected[what]
    ]
    evidence, why = _evidence(view, release, expected, now)
    if evidence is None and any(reason.startswith(OF_EVIDENCE) for reason in why):
        stale += [reason for reason in why if reason.startswith(OF_EVIDENCE)]
    policy = policy_now(view)
    approvals, lapsed = _approvals(view, release, channel, now, policy.digest) if channel else ([], [])
    moved = [event.fact for event in view.facts(Moved, digest=release.digest, adapter=release.adapter)]
    if moved and moved[-1].policy != policy.digest:
        stale.append(f"policy: it was let in under {moved[-1].policy[:12]}, and now {policy.digest[:12]} holds")
    revoked = revocation(view, release.digest)
    return Standing(release, revoked, evidence, tuple(approvals), policy, tuple(stale), (*why, *lapsed))


def _evidence(
    view: View, release: Released, expected: dict[str, str], now: str
) -> tuple[Event[Evaluated] | None, list[str]]:
    """The newest evaluation that counts; and why not, of the newest that does not."""
    reasons: list[str] = []
    for event in reversed(view.facts(Evaluated, digest=release.digest)):
        its = event.fact
        if not counts(view, event):
            continue
        why = [
            f"{what}: it was judged by {getattr(its, what)[:12]}, and now {expected[what][:12]} is expected"
            for what in OF_EVIDENCE
            if what in expected and getattr(its, what) != expected[what]
        ]
        if its.base != release.base:
            why.append("base: the evaluation was of another base")
        if not why and its.outcome != "pass":  # the newest decides, not the best: a fail does not expire
            return None, [f"evidence: the gates say {its.outcome}"]
        if over := _over(view, event, now):
            why.append(f"evidence: {over}")
        if not why:
            return event, []
        reasons = reasons or why
    return None, reasons or ["evidence: there is no evaluation"]


def _approvals(
    view: View, release: Released, channel: str, now: str, policy: str
) -> tuple[list[Event[Approved]], list[str]]:
    """One approval a person: the latest, if it counts; and why the others do not."""
    counted: dict[str, Event[Approved]] = {}
    lapsed: list[str] = []
    for event, why in weighed_approvals(view, release, channel, now):
        its = event.fact
        counted.pop(its.person, None)
        if why is None and its.policy != policy:
            why = f"that of {its.person} was under another policy, {its.policy[:12]}"
        if why is None:
            counted[its.person] = event
        else:
            lapsed.append(f"approval: {why}")
    return list(counted.values()), lapsed


def weighed_approvals(
    view: View, release: Released, channel: str, now: str
) -> Iterator[tuple[Event[Approved], str | None]]:
    """Every approval in order, with the reason why it does not count, under whatever policy it was given."""
    withdrawn = withdrawals(view, release, channel)
    for event in view.facts(Approved, digest=release.digest, adapter=release.adapter, channel=channel):
        its, why = event.fact, None
        if not counts(view, event):
            why = f"the key of {its.person} was stolen"
        elif its.person == release.author:
            why = f"{its.person} made it, and cannot approve it"
        elif withdrawn.get(its.person, 0) > event.sequence:
            why = f"{its.person} took it back"
        elif over := _over(view, event, now):
            why = f"that of {its.person}: {over}"
        yield event, why


def withdrawals(view: View, release: OfRelease, channel: str) -> dict[str, int]:
    """Who took an approval back, and the newest place in the record where they did."""
    found: Sequence[Event[Any]] = view.facts(Withdrawn, digest=release.digest, adapter=release.adapter, channel=channel)
    return {event.actor: event.sequence for event in found}


def _over(view: View, event: Event[Any], now: str) -> str | None:
    """Why what somebody said for a time does not hold any more, if so."""
    if now >= event.fact.expires:
        return f"it expired on {event.fact.expires[:10]}"
    return "a clock that was ahead dated it" if view.dated_ahead(event) else None


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
