"""Releases: found by reference, and what a reference gives to whoever uses it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worldtune.errors import BusyError, RegistryError, did_you_mean
from worldtune.registry.clock import time_after
from worldtune.registry.facts import BaseRevoked, Released, Revoked
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.state import Move, State, place
from worldtune.registry.names import Reference, parse_reference


@dataclass(frozen=True)
class Resolved:
    """A release, and the channel's move that led to it, if a channel did; `warnings` are for whoever uses it."""

    reference: Reference
    release: Event[Released]
    move: Move | None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.release.fact.name

    @property
    def digest(self) -> str:
        return self.release.fact.digest


def resolve(state: State, text: str) -> Resolved:
    """The release that a reference means, if it may be used.

    Raises RegistryError when there is none, it or its base is revoked, or its channel holds a break-glass move that
    has expired.
    """
    found = find(state, text)
    if revoked := revocation(state, found.release.fact):
        mend = f"Roll back: worldtune registry rollback {text}." if found.move else "Use another release."
        raise RegistryError(why_revoked(found.release.fact, revoked), where=text, mend=mend)
    if found.move is None or found.move.event.fact.expires is None:
        return found
    move = found.move.event
    expires = move.fact.expires or ""
    if time_after(state.clock) >= expires or state.dated_ahead(move):
        what = f"{text} was moved by break-glass until {expires}, which has passed, or by a clock that was ahead"
        mend = f"Promote a release that is approved, or worldtune registry rollback {text}."
        raise RegistryError(what, where=text, mend=mend)
    warning = f"BREAK-GLASS: {text} is {found.name} without approval until {expires}: {move.fact.reason}"
    return Resolved(found.reference, found.release, found.move, (warning,))


def find(state: State, text: str) -> Resolved:
    """The release that a reference means, whatever speaks against it. Raises RegistryError when there is none."""
    reference = parse_reference(text)
    if reference.by == "channel":
        move = channel_head(state, reference.adapter, reference.value)
        if move is None:
            raise _unknown(state, reference)
        return Resolved(reference, state.releases[move.event.fact.name], move)
    if reference.by == "number":
        if release := state.releases.get(f"{reference.adapter}@{reference.value}"):
            return Resolved(reference, release, None)
        if int(reference.value) <= (state.numbers.get(reference.adapter) or 0):
            what = "it was released by a stolen key"
            raise RegistryError(what, where=text, mend="Add it again, by somebody who can be trusted.")
        raise _unknown(state, reference)
    return Resolved(reference, _by_digest(state, reference), None)


def find_again(state: State, text: str, release: Released) -> None:
    """Raises BusyError when a reference means another release than it did."""
    if find(state, text).release.fact != release:
        raise BusyError("it means another release now", where=text, mend="Look at what is there, and decide again.")


def _by_digest(state: State, reference: Reference) -> Event[Released]:
    found = [
        state.releases[name]
        for _, names in state.by_digest.items(reference.value)
        for name in names
        if name.rpartition("@")[0] == reference.adapter
    ]
    if not found:
        raise _unknown(state, reference)
    if len({event.fact.digest for event in found}) > 1:
        what = f"{len(found)} releases begin so"
        raise RegistryError(what, where=str(reference), mend="Give more digits of the digest.")
    return found[-1]


def releases_of(state: State, adapter: str) -> list[Event[Released]]:
    """Every release of an adapter that counts, by number."""
    return sorted(state.releases.values(f"{adapter}@"), key=lambda event: event.fact.number)


def same_bytes(state: State, digest: str) -> list[Event[Released]]:
    """The releases of these bytes, under all names, the first first."""
    return [state.releases[name] for name in state.by_digest.get(digest) or ()]


def revocation(state: State, release: Released) -> Event[Revoked] | Event[BaseRevoked] | None:
    """The revocation of a release's bytes, under whatever name, or of the base that it stands on."""
    of_bytes, of_base = state.revoked.get(release.digest), state.revoked_bases.get(release.base)
    return of_bytes[0] if of_bytes else of_base[0] if of_base else None


def why_revoked(release: Released, revoked: Event[Any]) -> str:
    """The revocation of a release in a sentence."""
    if isinstance(revoked.fact, BaseRevoked):
        return f"{release.name} is revoked with its base {release.base[:12]}: {revoked.fact.reason}"
    return f"{release.name} is revoked: {revoked.fact.reason}"


def check_not_revoked(state: State, release: Released) -> None:
    """Raises RegistryError when a release, or one that it came from, is revoked, or its parent is not known."""
    if revoked := revocation(state, release):
        mend = "Use another; other sites: worldtune registry revocations."
        raise RegistryError(why_revoked(release, revoked), where=release.name, mend=mend)
    chain = [release, *ancestors(state, release)]
    for older in chain[1:]:
        if revocation(state, older):
            reason = revocation(state, older).fact.reason  # type: ignore[union-attr]
            what = f"it came from {older.name}, which is revoked: {reason}"
            raise RegistryError(what, where=release.name, mend="Train from another.")
    for one in chain:
        is_first = (
            one == release or same_bytes(state, one.digest)[0].fact == one
        )  # whoever adds them again hinders nobody
        if one.parent is not None and is_first and not same_bytes(state, one.parent):
            what = f"its parent {one.parent[:12]} is not in the registry"
            raise RegistryError(what, where=release.name, mend="Import the parent too.")


def ancestors(state: State, release: Released) -> Iterator[Released]:
    """What it came from, what that came from, and so on, as far as they are known here, near ones first.

    The same bytes may be there under several names, each with a parent of its own: all of them are followed.
    """
    ring = [release.parent, *(twin.fact.parent for twin in same_bytes(state, release.digest))]
    seen = {release.digest}
    while ring:
        parent = ring.pop(0)
        if parent is None or parent in seen:
            continue
        seen.add(parent)
        for found in same_bytes(state, parent):
            yield found.fact
            ring.append(found.fact.parent)


def channel_head(state: State, adapter: str, channel: str) -> Move | None:
    """The newest move of a channel that counts; None where there is none."""
    key = state.heads.get(f"{adapter}@{channel}")
    return state.moves[key] if key else None


def moves_of(state: State, adapter: str, channel: str) -> list[Move]:
    """Every move of a channel that counts, the oldest first."""
    return list(state.moves.values(f"{adapter}@{channel} "))


def move_key(adapter: str, channel: str, generation: int) -> str:
    """Where a move stands in the state's table."""
    return f"{adapter}@{channel} {place(generation)}"


def channels(state: State, adapter: str) -> dict[str, Move]:
    """The newest move of every channel of an adapter, by the channel's name."""
    return {key.rpartition("@")[2]: state.moves[head] for key, head in state.heads.items(f"{adapter}@") if head}


def adapter_names(state: State) -> list[str]:
    """Every adapter that has a release."""
    return [name for name, _ in state.labels.items()]


def _unknown(state: State, reference: Reference) -> RegistryError:
    names = adapter_names(state)
    if reference.adapter not in names:
        mend = did_you_mean(reference.adapter, names, "See `worldtune registry list`.")
        return RegistryError("there is no adapter of that name", where=reference.adapter, mend=mend)
    known = ", ".join(f"@{name}" for name in channels(state, reference.adapter)) or "none"
    what = f"{reference.adapter} has no {reference.by} {reference.value}"
    if reference.by == "channel" and f"{reference.adapter}@{reference.value}" in state.generations:
        what = f"{what} any more: what moved it does not count since a key is known as stolen"
    mend = f"Its channels: {known}; its releases: worldtune registry show {reference.adapter}."
    return RegistryError(what, where=str(reference), mend=mend)
