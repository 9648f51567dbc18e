"""Promotion: a channel points to another release, in one transaction, or nothing happened.

The bytes are verified before it begins, as nothing can change them unseen: whoever reads them verifies them again.
Then, while nobody else writes: signatures, the policy by its digest, evidence, approvers, the channel's generation.
"""

from dataclasses import dataclass
from datetime import timedelta

from securesystemslib.signer import CryptoSigner

from worldtune.errors import BusyError, RegistryError, TamperError
from worldtune.registry.clock import text_of, time_after, time_of
from worldtune.registry.facts import Approved, Moved, Released
from worldtune.registry.moves import channel_head, generation_of, moves_of, refuse_misspelt
from worldtune.registry.names import Reference, check_channel, parse_reference
from worldtune.registry.record import Event, View, Writer
from worldtune.registry.registry import Registry
from worldtune.registry.releases import ancestors, find, revocation
from worldtune.registry.standing import Standing, policy_now, standing, weighed_approvals

LONGEST_GLASS = timedelta(days=7)


@dataclass(frozen=True)
class BreakGlass:
    """Into a channel without approval: for a reason, and for so long."""

    reason: str
    lasts: timedelta


def promote(
    registry: Registry,
    signer: CryptoSigner,
    text: str,
    channel: str,
    generation: int | None = None,
    glass: BreakGlass | None = None,
) -> Event[Moved]:
    """Let a channel point to a release; `generation` is the one that the channel is believed to have.

    Raises RegistryError, which names all that is missing, when the policy does not let it in; TamperError when its
    bytes or what speaks for it were changed; BusyError when the channel has moved meanwhile.
    """
    check_channel(channel)
    if glass and glass.lasts > LONGEST_GLASS:
        what = f"break-glass lasts {LONGEST_GLASS.days} days at most"
        raise RegistryError(what, where="--expires", mend="Say less, and have the release approved meanwhile.")
    with registry.view() as view:
        release = find(view, text).release.fact
    verify_bytes(registry, release)
    with registry.writer(signer) as writer:
        if find(writer, text).release.fact != release:
            raise BusyError("it means another release now", where=text, mend="Look at what is there, and decide again.")
        now = standing(writer, release, channel)
        refuse_misspelt(writer, channel, now.policy.channels)
        refuse_revoked(writer, release)
        if glass is None:
            _refuse_unready(now, channel)
        found = _refuse_moved(writer, release.adapter, channel, generation)
        return writer.append(
            Moved(
                **release.identity,
                channel=channel,
                generation=found + 1,
                how="break-glass" if glass else "promotion",
                reason=glass.reason if glass else None,
                policy=now.policy.digest,
                evidence=(now.evidence.hash,) if now.evidence else (),
                approvals=tuple(event.hash for event in now.approvals),
                expires=text_of(time_of(writer.at) + glass.lasts) if glass else None,
            )
        )


def rollback(
    registry: Registry,
    signer: CryptoSigner,
    text: str,
    reason: str,
    to: int | None = None,
    generation: int | None = None,
) -> tuple[Event[Moved], Standing]:
    """Let a channel point to an earlier release of its own, that is still approved and not revoked.

    Without `to` it is the newest one from before the present one was promoted: never one that was rolled away from.
    Nothing is evaluated again: what is stale is told, and does not hinder. Raises RegistryError when there is none,
    BusyError when the channel is at another `generation`.
    """
    reference = parse_reference(text)
    if reference.by != "channel":
        raise RegistryError(f"{text} names no channel", where="rollback", mend="As cell7/front/pick@production.")
    with registry.view() as view:
        chosen = _earlier(view, reference, to)
    verify_bytes(registry, chosen)
    with registry.writer(signer) as writer:
        if _earlier(writer, reference, to) != chosen:
            raise BusyError("the channel moved meanwhile", where=text, mend="Look at it, and try again.")
        found = _refuse_moved(writer, reference.adapter, reference.value, generation)
        fact = Moved(
            **chosen.identity,
            channel=reference.value,
            generation=found + 1,
            how="rollback",
            reason=reason,
            policy=policy_now(writer).digest,
            approvals=tuple(event.hash for event in _still_approved(writer, chosen, reference.value)),
        )
        return writer.append(fact), standing(writer, chosen, reference.value)


def verify_bytes(registry: Registry, release: Released) -> None:
    """Raises TamperError unless the store has the release's manifest, provenance and every file as they were."""
    registry.store.check_all(registry.store.manifest(release.digest))
    registry.store.read(release.provenance)


def refuse_revoked(view: View, release: Released) -> None:
    """Raises RegistryError when the release, or one that it came from, is revoked."""
    if revoked := revocation(view, release.digest):
        what = f"{release.name} is revoked: {revoked.fact.reason}"
        raise RegistryError(what, where=release.name, mend="Use another; other sites: worldtune registry revocations.")
    chain = [release, *ancestors(view, release)]
    for one in chain[1:]:
        if revoked := revocation(view, one.digest):
            what = f"it came from {one.name}, which is revoked: {revoked.fact.reason}"
            raise RegistryError(what, where=release.name, mend="Train from another.")
    if (parent := chain[-1].parent) is not None and parent not in {one.digest for one in chain}:
        what = f"its parent {parent[:12]} is not in the record"
        raise RegistryError(what, where=release.name, mend="Import the parent too.")


def _refuse_unready(now: Standing, channel: str) -> None:
    """Raises RegistryError, with everything that is missing, unless the policy lets the release in."""
    rule = now.policy.rule(channel)
    missing = [reason for reason in now.stale if not reason.startswith("policy")]  # approvals are of this policy
    if rule.evidence and now.evidence is None:
        missing += [reason for reason in now.lapsed if not reason.startswith("approval") and reason not in missing]
    if len(now.approvals) < rule.approvals:
        missing.append(f"approvals: {len(now.approvals)} of {rule.approvals}, by people who did not make it")
        missing += [reason for reason in now.lapsed if reason.startswith("approval")]
    if missing:
        raise RegistryError(
            f"it may not go to {channel}: {'; '.join(missing)}",
            where=now.release.name,
            mend="Evaluate it anew, or have it approved; in an emergency an administrator has --break-glass.",
        )


def _refuse_moved(writer: Writer, adapter: str, channel: str, expected: int | None) -> int:
    """The channel's generation. Raises BusyError when it is not the expected one."""
    found = generation_of(writer, adapter, channel)
    if expected is not None and expected != found:
        what = f"the channel is at generation {found}, not {expected}: somebody moved it"
        raise BusyError(what, where=f"{adapter}@{channel}", mend="Look at what is there now, and decide again.")
    return found


def _earlier(view: View, reference: Reference, to: int | None) -> Released:
    """The release to go back to. Raises RegistryError when none can be gone back to, and says why of each."""
    where, head = str(reference), channel_head(view, reference.adapter, reference.value)
    if head is None:
        raise RegistryError("the channel never held a release", where=where, mend="Promote one.")
    moves = moves_of(view, reference.adapter, reference.value)
    let_in = [move for move in moves if move.fact.how != "rollback"]
    arrived = max((m.fact.generation for m in let_in if m.fact.number == head.fact.number), default=1)
    reasons: dict[int, str] = {}
    for move in reversed(let_in):
        number = move.fact.number
        if number == head.fact.number or number in reasons or (to is not None and number != to):
            continue
        if to is None and move.fact.generation > arrived:
            continue
        if why := _not_again(view, move.fact, reference.value):
            reasons[number] = why
        else:
            return find(view, f"{reference.adapter}@{number}").release.fact
    said = "; ".join(f"{number} is {why}" for number, why in reasons.items()) or (
        f"{to} never was there before" if to is not None else "it never held another before"
    )
    mend = f"Have one approved, or promote another: worldtune registry show {reference.adapter}."
    raise RegistryError(f"nothing can be gone back to: {said}", where=where, mend=mend)


def _not_again(view: View, move: Moved, channel: str) -> str | None:
    """Why a channel cannot go back to what a move let in, if so."""
    if move.how == "break-glass":
        return "let in by break-glass only"
    try:
        release = find(view, f"{move.adapter}@{move.number}").release.fact
        refuse_revoked(view, release)
    except TamperError:
        raise
    except RegistryError as error:
        return f"not to be used ({error.what})"
    if len(_still_approved(view, release, channel)) < policy_now(view).rule(channel).approvals:
        return "not approved any more"
    return None


def _still_approved(view: View, release: Released, channel: str) -> list[Event[Approved]]:
    """Approvals that count but for the policy they were given under, one a person."""
    weighed = weighed_approvals(view, release, channel, time_after(view.head().at))
    return list({event.fact.person: event for event, why in weighed if why is None}.values())
