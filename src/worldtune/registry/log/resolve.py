"""Find releases by reference, and check whether they may be used."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worldtune.errors import BusyError, RegistryError, did_you_mean
from worldtune.registry.clock import next_event_time
from worldtune.registry.events.events import BaseRevoked, ReleaseAdded, ReleaseRevoked
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.state import ChannelMove, State, sequence_key
from worldtune.registry.names import Reference, parse_reference


@dataclass(frozen=True)
class ResolvedRelease:
    """A release, the channel move that points to it (None without a channel), and `warnings` for its user."""

    reference: Reference
    release: Event[ReleaseAdded]
    move: ChannelMove | None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.release.fact.name

    @property
    def digest(self) -> str:
        return self.release.fact.digest


def resolve(state: State, text: str) -> ResolvedRelease:
    """Return the release of a reference, if it may be used.

    Raise RegistryError if there is none, it or its base is revoked, or its channel's break-glass has expired.
    """
    found = find_release(state, text)
    if revoked := find_revocation(state, found.release.fact):
        hint = f"Roll back: worldtune registry rollback {text}." if found.move else "Use another release."
        raise RegistryError(describe_revocation(found.release.fact, revoked), where=text, hint=hint)
    if found.move is None or found.move.event.fact.expires is None:
        return found
    move = found.move.event
    expires = move.fact.expires or ""
    if next_event_time(state.clock) >= expires or state.was_dated_ahead(move):
        what = f"the break-glass promotion of {text} until {expires} has expired, or its clock was ahead"
        hint = f"Promote an approved release, or run worldtune registry rollback {text}."
        raise RegistryError(what, where=text, hint=hint)
    warning = f"BREAK-GLASS: {text} is {found.name} without approval until {expires}: {move.fact.reason}"
    return ResolvedRelease(found.reference, found.release, found.move, (warning,))


def find_release(state: State, text: str) -> ResolvedRelease:
    """Return the release of a reference, even if it may not be used. Raise RegistryError if there is none."""
    reference = parse_reference(text)
    if reference.by == "channel":
        move = channel_head(state, reference.adapter, reference.value)
        if move is None:
            raise _not_found(state, reference)
        return ResolvedRelease(reference, state.releases[move.event.fact.name], move)
    if reference.by == "number":
        if release := state.releases.get(f"{reference.adapter}@{reference.value}"):
            return ResolvedRelease(reference, release, None)
        if int(reference.value) <= (state.numbers.get(reference.adapter) or 0):
            what = "the release was signed by a stolen key"
            raise RegistryError(what, where=text, hint="Have a trusted person add it again.")
        raise _not_found(state, reference)
    return ResolvedRelease(reference, _by_digest(state, reference), None)


def check_still_refers_to(state: State, text: str, release: ReleaseAdded) -> None:
    """Raise BusyError if a reference no longer refers to `release`."""
    if find_release(state, text).release.fact != release:
        what = "the reference now refers to another release"
        raise BusyError(what, where=text, hint="Check the new release, then decide again.")


def _by_digest(state: State, reference: Reference) -> Event[ReleaseAdded]:
    found = [
        state.releases[name]
        for _, names in state.names_by_digest.items(reference.value)
        for name in names
        if name.rpartition("@")[0] == reference.adapter
    ]
    if not found:
        raise _not_found(state, reference)
    if len({event.fact.digest for event in found}) > 1:
        what = f"{len(found)} releases match this prefix"
        raise RegistryError(what, where=str(reference), hint="Give more digits of the digest.")
    return found[-1]


def list_releases(state: State, adapter: str) -> list[Event[ReleaseAdded]]:
    """Return every release of an adapter that counts, by number."""
    return sorted(state.releases.values(f"{adapter}@"), key=lambda event: event.fact.number)


def releases_with_digest(state: State, digest: str) -> list[Event[ReleaseAdded]]:
    """Return the releases of these bytes under all names, the oldest first."""
    return [state.releases[name] for name in state.names_by_digest.get(digest) or ()]


def find_revocation(state: State, release: ReleaseAdded) -> Event[ReleaseRevoked] | Event[BaseRevoked] | None:
    """Return the revocation of a release's bytes, under any name, or of its base; None if there is none."""
    of_bytes, of_base = state.revoked.get(release.digest), state.revoked_bases.get(release.base)
    return of_bytes[0] if of_bytes else of_base[0] if of_base else None


def describe_revocation(release: ReleaseAdded, revoked: Event[Any]) -> str:
    """Return a sentence about the revocation of a release."""
    if isinstance(revoked.fact, BaseRevoked):
        return f"{release.name} is revoked with its base {release.base[:12]}: {revoked.fact.reason}"
    return f"{release.name} is revoked: {revoked.fact.reason}"


def check_not_revoked(state: State, release: ReleaseAdded) -> None:
    """Raise RegistryError if a release or one of its ancestors is revoked, or its parent is unknown."""
    if revoked := find_revocation(state, release):
        hint = "Use another release; to inform other sites: worldtune registry revocations."
        raise RegistryError(describe_revocation(release, revoked), where=release.name, hint=hint)
    chain = [release, *ancestors(state, release)]
    for older in chain[1:]:
        if find_revocation(state, older):
            reason = find_revocation(state, older).fact.reason  # type: ignore[union-attr]
            what = f"its ancestor {older.name} is revoked: {reason}"
            raise RegistryError(what, where=release.name, hint="Train from another release.")
    for member in chain:
        is_first = (
            member == release or releases_with_digest(state, member.digest)[0].fact == member
        )  # adding the same bytes again must not block others
        if member.parent is not None and is_first and not releases_with_digest(state, member.parent):
            what = f"its parent {member.parent[:12]} is not in the registry"
            raise RegistryError(what, where=release.name, hint="Import the parent too.")


def ancestors(state: State, release: ReleaseAdded) -> Iterator[ReleaseAdded]:
    """Yield the known ancestors of a release, the nearest first.

    The same bytes may have several names, each with its own parent; all parents are followed.
    """
    queue = [release.parent, *(duplicate.fact.parent for duplicate in releases_with_digest(state, release.digest))]
    seen = {release.digest}
    while queue:
        parent = queue.pop(0)
        if parent is None or parent in seen:
            continue
        seen.add(parent)
        for found in releases_with_digest(state, parent):
            yield found.fact
            queue.append(found.fact.parent)


def channel_head(state: State, adapter: str, channel: str) -> ChannelMove | None:
    """Return the newest move of a channel that counts, or None."""
    key = state.heads.get(f"{adapter}@{channel}")
    return state.moves[key] if key else None


def list_moves(state: State, adapter: str, channel: str) -> list[ChannelMove]:
    """Return every move of a channel that counts, the oldest first."""
    return list(state.moves.values(f"{adapter}@{channel} "))


def move_key(adapter: str, channel: str, generation: int) -> str:
    """Return the key of a move in the state's table."""
    return f"{adapter}@{channel} {sequence_key(generation)}"


def channels(state: State, adapter: str) -> dict[str, ChannelMove]:
    """Return the newest move of every channel of an adapter, by channel name."""
    return {key.rpartition("@")[2]: state.moves[head] for key, head in state.heads.items(f"{adapter}@") if head}


def adapter_names(state: State) -> list[str]:
    """Return the name of every adapter that has a release."""
    return [name for name, _ in state.labels.items()]


def _not_found(state: State, reference: Reference) -> RegistryError:
    names = adapter_names(state)
    if reference.adapter not in names:
        hint = did_you_mean(reference.adapter, names, "See `worldtune registry list`.")
        return RegistryError("there is no adapter with this name", where=reference.adapter, hint=hint)
    known = ", ".join(f"@{name}" for name in channels(state, reference.adapter)) or "none"
    what = f"{reference.adapter} has no {reference.by} {reference.value}"
    if reference.by == "channel" and f"{reference.adapter}@{reference.value}" in state.generations:
        held = f"{reference.adapter} no longer has the channel {reference.value}"
        what = f"{held}: its promotion is void because a key was stolen"
    hint = f"Its channels: {known}; its releases: worldtune registry show {reference.adapter}."
    return RegistryError(what, where=str(reference), hint=hint)
