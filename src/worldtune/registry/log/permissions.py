"""May a key sign a fact at its moment: roles, expiry, retirement, theft, and the time itself."""

import re
from typing import Any

from worldtune.errors import RegistryError
from worldtune.registry.clock import time_of
from worldtune.registry.fact_fields import TIME
from worldtune.registry.facts import (
    Approved,
    BaseRevoked,
    ClockSet,
    Enrolled,
    Evaluated,
    Fact,
    Founded,
    Moved,
    Released,
    Retired,
    Revoked,
    Role,
    Withdrawn,
)
from worldtune.registry.identities import Identity
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.state import State

# Of a stolen key these stay: what takes something away, and who may sign and what the time is, on which all rests.
TAKING: tuple[type[Fact], ...] = (Revoked, BaseRevoked, Withdrawn, Retired)
STAYING: tuple[type[Fact], ...] = (*TAKING, Founded, Enrolled, ClockSet)


def check_signer(state: State, event: Event[Any]) -> None:
    """Raise RegistryError unless the event's key and role allow its fact, at its time."""
    fact = event.fact
    if not re.fullmatch(TIME, event.at) or not _is_time(event.at):
        raise RegistryError("its time is none", where=f"event {event.sequence}", mend="Leave it.")
    if event.at < state.clock and not isinstance(fact, ClockSet):
        what = "it is older than the event before"
        raise RegistryError(what, where=f"event {event.sequence}", mend="Set that machine's clock right.")
    if isinstance(fact, Founded):
        return
    identity = state.identities[event.key]
    check_may(state, identity, fact, event.at, fact.kind)
    named = speaker_of(fact)
    if named is not None and fact.brought is None and named != identity.person:
        what = f"{identity.person} speaks for {named}"
        raise RegistryError(what, where=fact.kind, mend="Everybody signs for themselves.")
    if isinstance(fact, ClockSet) and identity.expires is not None:  # else it could make itself valid again
        what = f"the key of {identity.person} expires, and the clock is set by one that does not"
        mend = "Ask the founder, or an administrator whose key does not expire."
        raise RegistryError(what, where=fact.kind, mend=mend)


def check_valid(identity: Identity, at: str, where: str) -> None:
    """Raise RegistryError unless a key may sign at all at a time."""
    if identity.expires is not None and at >= identity.expires:
        what = f"the key of {identity.person} expired on {identity.expires[:10]}"
        raise RegistryError(what, where=where, mend="Have a new one enrolled.")
    if identity.retired is not None:
        what = f"the key of {identity.person} was retired on {(identity.retired_at or '')[:10]}"
        raise RegistryError(what, where=where, mend="Have a new one enrolled.")


def check_may(state: State, identity: Identity, fact: Fact, at: str, where: str) -> None:
    """Raise RegistryError unless a key is valid at a time, and one of its roles may state the fact."""
    check_valid(identity, at, where)
    if identity.key in state.stolen and not isinstance(fact, STAYING):
        what = f"the key of {identity.person} was stolen"
        raise RegistryError(what, where=where, mend="Have it said again, by somebody who can be trusted.")
    needed = roles_for(fact)
    if not set(needed) & set(identity.roles):
        what = f"{identity.person} is {', '.join(identity.roles)}, and it takes {' or '.join(needed)}"
        able = {one.person for one in state.identities.values() if set(needed) & set(one.roles) and not one.retired}
        mend = f"Ask {' or '.join(sorted(able)) or 'an administrator to enrol somebody'}."
        raise RegistryError(what, where=where, mend=mend)


def speaker_of(fact: Fact) -> str | None:
    """Whose word a fact is, where that need not be who wrote it into the log: it may have been brought along."""
    if isinstance(fact, Released):
        return fact.author
    return fact.person if isinstance(fact, Evaluated | Approved) else None


def roles_for(fact: Fact) -> tuple[Role, ...]:
    """Any of these may state the fact; an administrator may do all but evaluate and approve, unless enrolled for it."""
    if isinstance(fact, Moved) and fact.how == "break-glass":
        return ("admin",)
    if isinstance(fact, Evaluated | Approved) and fact.brought is not None:  # who imports does not vouch for it
        return ("submitter", "admin")
    if isinstance(fact, Revoked | BaseRevoked) and fact.brought is not None:
        return ("submitter", "approver", "admin")
    if isinstance(fact, Evaluated | Approved | Withdrawn):
        return fact.by
    return (*(role for role in fact.by if role != "admin"), "admin")


def _is_time(text: str) -> bool:
    try:
        time_of(text)
    except ValueError:
        return False
    return True
