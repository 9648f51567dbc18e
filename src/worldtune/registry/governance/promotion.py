"""Promotion, rollback, break-glass: point a channel to another release in one transaction, or change nothing.

The bytes are verified before the transaction; a later change is detected because every reader verifies them again. The
rules of the event log decide whether the update is allowed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches

from securesystemslib.signer import CryptoSigner

from worldtune.errors import BusyError, RegistryError
from worldtune.registry.clock import format_time, next_event_time, parse_time
from worldtune.registry.events.events import ChannelUpdated, ReleaseAdded, ReleaseEvaluated, make_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.release_status import ReleaseStatus, current_policy, release_status, rollback_target
from worldtune.registry.log.resolve import check_still_refers_to, find_release
from worldtune.registry.log.rules import channel_generation
from worldtune.registry.log.state import State
from worldtune.registry.log.writer import Writer
from worldtune.registry.names import check_channel, parse_reference
from worldtune.registry.registry import Registry
from worldtune.registry.releases.verify_release import verify_release


@dataclass(frozen=True)
class BreakGlass:
    """The reason and duration of a promotion without approval."""

    reason: str
    valid_for: timedelta


def promote(
    registry: Registry,
    signer: CryptoSigner,
    text: str,
    channel: str,
    generation: int | None = None,
    break_glass: BreakGlass | None = None,
) -> Event[ChannelUpdated]:
    """Point a channel to a release; `generation` is the channel's expected generation.

    Raise RegistryError, naming everything that is missing, if the policy does not allow it; TamperError if its bytes or
    the log were changed; BusyError if the channel changed meanwhile.
    """
    check_channel(channel)
    with registry.view() as state:
        release = find_release(state, text).release.fact
        verify_release(registry.store, state, release)
        evidence = None if break_glass else _evidence(state, release, channel, next_event_time(state.clock))
        if evidence is not None:
            # imported here so that an approval does not load video libraries
            from worldtune.registry.governance.evidence import check_evaluation

            check_evaluation(registry.store, release, evidence.fact)
    with registry.writer(signer) as writer:
        check_still_refers_to(writer.state, text, release)
        if not break_glass and _evidence(writer.state, release, channel, writer.at) not in (None, evidence):
            what = "the release was evaluated meanwhile"
            raise BusyError(what, where=text, hint="Check the new evaluation, then decide again.")
        check_channel_spelling(writer.state, channel, current_policy(writer.state).channels)
        move = {
            "channel": channel, "generation": _next_generation(writer, release.adapter, channel, generation),
            "action": "break-glass" if break_glass else "promotion",
            "reason": break_glass.reason if break_glass else None,
            "policy": current_policy(writer.state).digest,
            "expires": format_time(parse_time(writer.at) + break_glass.valid_for) if break_glass else None,
        }  # fmt: skip
        return writer.append(make_fact(ChannelUpdated, release.identity | move))


def rollback(
    registry: Registry,
    signer: CryptoSigner,
    text: str,
    reason: str,
    to: int | None = None,
    generation: int | None = None,
) -> tuple[Event[ChannelUpdated], ReleaseStatus]:
    """Point a channel back to an earlier release that is still approved and not revoked.

    Without `to`, take the newest release before the current one was promoted, but never one that was rolled back.
    Nothing is evaluated again; stale parts are in the returned status and do not block. Raise RegistryError if there is
    no such release, BusyError if the channel is at another `generation`.
    """
    reference = parse_reference(text)
    if reference.by != "channel":
        hint = "Give NAME@CHANNEL, such as cell7/front/pick@production."
        raise RegistryError(f"{text} names no channel", where="rollback", hint=hint)
    where = reference.adapter, reference.value
    with registry.view() as state:
        chosen = rollback_target(state, *where, to, next_event_time(state.clock))
        verify_release(registry.store, state, chosen)
    with registry.writer(signer) as writer:
        if rollback_target(writer.state, *where, to, writer.at) != chosen:
            raise BusyError("the channel changed meanwhile", where=text, hint="Check the channel, then try again.")
        move = {
            "channel": reference.value, "generation": _next_generation(writer, *where, generation),
            "action": "rollback",
            "reason": reason, "policy": current_policy(writer.state).digest,
        }  # fmt: skip
        event = writer.append(make_fact(ChannelUpdated, chosen.identity | move))
        return event, release_status(writer.state, chosen, reference.value, writer.at)


def check_channel_spelling(state: State, channel: str, named: Iterable[str]) -> None:
    """Raise RegistryError for a new channel whose name is almost the name of an existing one."""
    known = {*named, *(key.rpartition("@")[2] for key, _ in state.generations.items())}
    if channel not in known and (near := get_close_matches(channel, known, n=1, cutoff=0.75)):
        what = f"there is no channel {channel!r}, but one with a similar name"
        raise RegistryError(what, where="channel", hint=f"Did you mean '{near[0]}'? If not, choose another name.")


def _evidence(state: State, release: ReleaseAdded, channel: str, at: str) -> Event[ReleaseEvaluated] | None:
    """Return the evaluation that a promotion relies on, or None if the policy requires none."""
    return (
        release_status(state, release, channel, at).evidence
        if current_policy(state).rule_for(channel).evidence
        else None
    )


def _next_generation(writer: Writer, adapter: str, channel: str, expected: int | None) -> int:
    """Return the channel's next generation. Raise BusyError if it is not at the expected one."""
    found = channel_generation(writer.state, adapter, channel)
    if expected is not None and expected != found:
        what = f"the channel is at generation {found}, not {expected}: someone changed it"
        raise BusyError(what, where=f"{adapter}@{channel}", hint="Check the channel, then decide again.")
    return found + 1
