"""Promotion, rollback, break-glass: a channel points to another release, in one transaction, or nothing happened.

The bytes are verified before it begins, as nothing can change them unseen: whoever reads them verifies them again.
Whether the move may be is for the rules of the event log.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches

from securesystemslib.signer import CryptoSigner

from worldtune.errors import BusyError, RegistryError
from worldtune.registry.clock import text_of, time_after, time_of
from worldtune.registry.facts import Evaluated, Moved, Released, as_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.rules import generation_of
from worldtune.registry.log.state import State
from worldtune.registry.log.writer import Writer
from worldtune.registry.names import check_channel, parse_reference
from worldtune.registry.registry import Registry
from worldtune.registry.releases import find, find_again
from worldtune.registry.standing import Standing, policy_now, rollback_target, standing
from worldtune.registry.stated import verify_bytes


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
    bytes or the log were changed; BusyError when the channel has moved meanwhile.
    """
    check_channel(channel)
    with registry.view() as state:
        release = find(state, text).release.fact
        verify_bytes(registry.store, state, release)
        evidence = None if glass else _evidence(state, release, channel, time_after(state.clock))
        if evidence is not None:
            from worldtune.registry.evidence import check_evaluation  # approval waits for no video libraries

            check_evaluation(registry.store, release, evidence.fact)
    with registry.writer(signer) as writer:
        find_again(writer.state, text, release)
        if not glass and _evidence(writer.state, release, channel, writer.at) not in (None, evidence):
            raise BusyError("it was evaluated meanwhile", where=text, mend="Look at what was found, and decide again.")
        check_spelling(writer.state, channel, policy_now(writer.state).channels)
        move = {
            "channel": channel, "generation": _next(writer, release.adapter, channel, generation),
            "how": "break-glass" if glass else "promotion", "reason": glass.reason if glass else None,
            "policy": policy_now(writer.state).digest,
            "expires": text_of(time_of(writer.at) + glass.lasts) if glass else None,
        }  # fmt: skip
        return writer.append(as_fact(Moved, release.identity | move))


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
    where = reference.adapter, reference.value
    with registry.view() as state:
        chosen = rollback_target(state, *where, to, time_after(state.clock))
        verify_bytes(registry.store, state, chosen)
    with registry.writer(signer) as writer:
        if rollback_target(writer.state, *where, to, writer.at) != chosen:
            raise BusyError("the channel moved meanwhile", where=text, mend="Look at it, and try again.")
        move = {
            "channel": reference.value, "generation": _next(writer, *where, generation), "how": "rollback",
            "reason": reason, "policy": policy_now(writer.state).digest,
        }  # fmt: skip
        event = writer.append(as_fact(Moved, chosen.identity | move))
        return event, standing(writer.state, chosen, reference.value, writer.at)


def check_spelling(state: State, channel: str, named: Iterable[str]) -> None:
    """Raises RegistryError for a channel that there never was and whose name is nearly that of one that there is."""
    known = {*named, *(key.rpartition("@")[2] for key, _ in state.generations.items())}
    if channel not in known and (near := get_close_matches(channel, known, n=1, cutoff=0.75)):
        what = f"there is no channel {channel!r} yet, and one is called nearly so"
        raise RegistryError(what, where="channel", mend=f"Did you mean '{near[0]}'? Else choose another name.")


def _evidence(state: State, release: Released, channel: str, at: str) -> Event[Evaluated] | None:
    """The evaluation that a promotion rests on, where the policy asks for one."""
    return standing(state, release, channel, at).evidence if policy_now(state).rule(channel).evidence else None


def _next(writer: Writer, adapter: str, channel: str, expected: int | None) -> int:
    """The channel's next generation. Raises BusyError when it is not at the expected one."""
    found = generation_of(writer.state, adapter, channel)
    if expected is not None and expected != found:
        what = f"the channel is at generation {found}, not {expected}: somebody moved it"
        raise BusyError(what, where=f"{adapter}@{channel}", mend="Look at what is there now, and decide again.")
    return found + 1
