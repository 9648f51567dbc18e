"""Whether a key may sign an event at its time: roles, expiry, retirement, theft, and the time itself."""

import re
from typing import Any

from worldtune.errors import RegistryError
from worldtune.registry.clock import parse_time
from worldtune.registry.events.events import (
    ApprovalWithdrawn,
    BaseRevoked,
    ChannelUpdated,
    ClockSet,
    Fact,
    KeyAdded,
    KeyRetired,
    RegistryCreated,
    ReleaseAdded,
    ReleaseApproved,
    ReleaseEvaluated,
    ReleaseRevoked,
    Role,
)
from worldtune.registry.events.fields import TIME_PATTERN
from worldtune.registry.events.identities import Identity
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.state import State

# Events that stay valid when their key is retired as stolen: those that revoke, and those that the whole log rests on.
REVOKING: tuple[type[Fact], ...] = (ReleaseRevoked, BaseRevoked, ApprovalWithdrawn, KeyRetired)
KEPT_IF_STOLEN: tuple[type[Fact], ...] = (*REVOKING, RegistryCreated, KeyAdded, ClockSet)


def check_signer(state: State, event: Event[Any]) -> None:
    """Raise RegistryError unless the event's key and role allow it at its time."""
    fact = event.fact
    if not re.fullmatch(TIME_PATTERN, event.at) or not _is_time(event.at):
        raise RegistryError("the event's time is not valid", where=f"event {event.sequence}", hint="Ignore it.")
    if event.at < state.clock and not isinstance(fact, ClockSet):
        what = "the event is older than the event before"
        raise RegistryError(what, where=f"event {event.sequence}", hint="Correct the clock of its machine.")
    if isinstance(fact, RegistryCreated):
        return
    identity = state.identities[event.key]
    authorize(state, identity, fact, event.at, fact.kind)
    signer = original_signer(fact)
    if signer is not None and fact.imported_statement is None and signer != identity.person:
        what = f"{identity.person} cannot sign for {signer}"
        raise RegistryError(what, where=fact.kind, hint="Have each person sign with their own key.")
    if isinstance(fact, ClockSet) and identity.expires is not None:  # such a key could make itself valid again
        what = f"the key of {identity.person} expires; setting the clock needs a key that does not"
        hint = "Ask the founder, or an administrator whose key does not expire."
        raise RegistryError(what, where=fact.kind, hint=hint)


def check_key_valid(identity: Identity, at: str, where: str) -> None:
    """Raise RegistryError if a key is expired or retired at a time."""
    if identity.expires is not None and at >= identity.expires:
        what = f"the key of {identity.person} expired on {identity.expires[:10]}"
        raise RegistryError(what, where=where, hint="Have a new key enrolled.")
    if identity.retired is not None:
        what = f"the key of {identity.person} was retired on {(identity.retired_at or '')[:10]}"
        raise RegistryError(what, where=where, hint="Have a new key enrolled.")


def authorize(state: State, identity: Identity, fact: Fact, at: str, where: str) -> None:
    """Raise RegistryError unless a key is valid at a time and one of its roles may write the event."""
    check_key_valid(identity, at, where)
    if identity.key in state.stolen and not isinstance(fact, KEPT_IF_STOLEN):
        what = f"the key of {identity.person} was stolen"
        raise RegistryError(what, where=where, hint="Have a trusted person sign it again.")
    needed = required_roles(fact)
    if not set(needed) & set(identity.roles):
        what = f"{identity.person} has the role {', '.join(identity.roles)}; this needs {' or '.join(needed)}"
        allowed = {
            other.person for other in state.identities.values() if set(needed) & set(other.roles) and not other.retired
        }
        hint = f"Ask {' or '.join(sorted(allowed)) or 'an administrator to enroll someone'}."
        raise RegistryError(what, where=where, hint=hint)


def original_signer(fact: Fact) -> str | None:
    """Return the person who made the statement; for an imported event this is not the person who wrote it here."""
    if isinstance(fact, ReleaseAdded):
        return fact.author
    return fact.person if isinstance(fact, ReleaseEvaluated | ReleaseApproved) else None


def required_roles(fact: Fact) -> tuple[Role, ...]:
    """Return the roles that may write the event. An administrator may not evaluate or approve by default."""
    if isinstance(fact, ChannelUpdated) and fact.action == "break-glass":
        return ("admin",)
    if (
        isinstance(fact, ReleaseEvaluated | ReleaseApproved) and fact.imported_statement is not None
    ):  # the importer does not vouch for it
        return ("submitter", "admin")
    if isinstance(fact, ReleaseRevoked | BaseRevoked) and fact.imported_statement is not None:
        return ("submitter", "approver", "admin")
    if isinstance(fact, ReleaseEvaluated | ReleaseApproved | ApprovalWithdrawn):
        return fact.allowed_roles
    return (*(role for role in fact.allowed_roles if role != "admin"), "admin")


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except ValueError:
        return False
    return True
