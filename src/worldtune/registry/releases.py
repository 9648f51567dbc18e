"""Releases: found by reference, and their standing: what speaks against one now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from worldtune.errors import RegistryError, did_you_mean
from worldtune.registry.brought import counts
from worldtune.registry.clock import time_after
from worldtune.registry.facts import Moved, Released, Revoked
from worldtune.registry.moves import channel_head, check_move
from worldtune.registry.names import Reference, parse_reference
from worldtune.registry.record import Event, View
from worldtune.registry.tables import TABLES

RELEASED = TABLES[Released]


@dataclass(frozen=True)
class Resolved:
    """A release, and the channel's move that led to it, if a channel did; `warnings` are for whoever uses it."""

    reference: Reference
    release: Event[Released]
    move: Event[Moved] | None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.release.fact.name

    @property
    def digest(self) -> str:
        return self.release.fact.digest


def resolve(view: View, text: str) -> Resolved:
    """The release that a reference means, if it may be used.

    Raises RegistryError when there is none, it is revoked, or its channel holds a break-glass move that has expired;
    TamperError when the channel was moved past the policy.
    """
    found = find(view, text)
    if revoked := revocation(view, found.digest):
        mend = f"Roll back: worldtune registry rollback {text}." if found.move else "Use another release."
        raise RegistryError(f"{found.name} is revoked: {revoked.fact.reason}", where=text, mend=mend)
    if found.move:
        check_move(view, found.move, found.release.fact)
    if found.move and found.move.fact.expires is not None:
        expires = found.move.fact.expires
        if time_after(view.head().at) >= expires or view.dated_ahead(found.move):
            what = f"{text} was moved by break-glass until {expires}, which has passed, or by a clock that was ahead"
            mend = f"Promote a release that is approved, or worldtune registry rollback {text}."
            raise RegistryError(what, where=text, mend=mend)
        warning = f"BREAK-GLASS: {text} is {found.name} without approval until {expires}: {found.move.fact.reason}"
        return Resolved(found.reference, found.release, found.move, (warning,))
    return found


def find(view: View, text: str) -> Resolved:
    """The release that a reference means, whatever speaks against it. Raises RegistryError when there is none."""
    reference = parse_reference(text)
    if reference.by == "channel":
        move = channel_head(view, reference.adapter, reference.value)
        if move is None:
            raise _unknown(view, reference)
        release = _release(view, reference, RELEASED.c.number == move.fact.number)
        if release.fact.digest != move.fact.digest:
            raise RegistryError("the channel's move names other bytes", where=text, mend="Run registry verify.")
        return Resolved(reference, release, move)
    if reference.by == "number":
        return Resolved(reference, _release(view, reference, RELEASED.c.number == int(reference.value)), None)
    return Resolved(reference, _release(view, reference, RELEASED.c.digest.startswith(reference.value)), None)


def _release(view: View, reference: Reference, condition: Any) -> Event[Released]:
    found = [event for event in view.facts(Released, condition, adapter=reference.adapter) if counts(view, event)]
    if not found:
        if not view.rows(Released, condition, adapter=reference.adapter):
            raise _unknown(view, reference)
        what = "it was released by a stolen key"
        raise RegistryError(what, where=str(reference), mend="Add it again, by somebody who can be trusted.")
    if len({event.fact.digest for event in found}) > 1:
        what = f"{len(found)} releases begin so"
        raise RegistryError(what, where=str(reference), mend="Give more digits of the digest.")
    return found[-1]


def revocation(view: View, digest: str) -> Event[Revoked] | None:
    """The revocation of these bytes, under whatever name. Raises TamperError for one that nobody said."""
    return next((event for event in view.facts(Revoked, digest=digest) if was_said(view, event)), None)


def was_said(view: View, event: Event[Revoked]) -> bool:
    """Was a revocation said by somebody who may? Of one whose key was stolen since: it stays.

    Raises TamperError for one that was brought and nobody said; False once the key that brought it is known as stolen.
    """
    try:
        counts(view, event)
    except RegistryError:
        if view.people.holders[event.key].stolen:
            return False
        raise
    return True


def refuse_revoked_bytes(view: View, digest: str, where: str) -> None:
    """Raises RegistryError when these bytes are revoked, under whatever name: they need not come in again."""
    if revoked := revocation(view, digest):
        what = f"these bytes are revoked, as {revoked.fact.name}: {revoked.fact.reason}"
        raise RegistryError(what, where=where, mend="Add another adapter.")


def ancestors(view: View, release: Released) -> Iterator[Released]:
    """The release that it came from, the one that that came from, and so on, as far as they are in the record."""
    parent, seen = release.parent, {release.digest}
    while parent is not None and parent not in seen:
        seen.add(parent)
        its = view.facts(Released, digest=parent)
        if not its:
            return
        yield its[0].fact
        parent = its[0].fact.parent


def channels(view: View, adapter: str) -> dict[str, Row[Any]]:
    """The newest move of every channel of an adapter, as it stands in the index."""
    rows: Sequence[Row[Any]] = view.rows(Moved, adapter=adapter)
    newest: dict[str, Row[Any]] = {}
    for row in rows:
        if row.channel not in newest or row.generation > newest[row.channel].generation:
            newest[row.channel] = row
    return newest


def adapter_names(view: View) -> list[str]:
    """Every adapter that has a release."""
    query = select(RELEASED.c.adapter).distinct().order_by(RELEASED.c.adapter)
    return list(view.connection.execute(query).scalars())


def _unknown(view: View, reference: Reference) -> RegistryError:
    names = adapter_names(view)
    if reference.adapter not in names:
        mend = did_you_mean(reference.adapter, names, "See `worldtune registry list`.")
        return RegistryError("there is no adapter of that name", where=reference.adapter, mend=mend)
    known = ", ".join(f"@{name}" for name in channels(view, reference.adapter)) or "none"
    return RegistryError(
        f"{reference.adapter} has no {reference.by} {reference.value}",
        where=str(reference),
        mend=f"Its channels: {known}; its releases: worldtune registry show {reference.adapter}.",
    )
