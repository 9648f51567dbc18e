"""Who may sign what: keys, roles, expiry and retirement, as the signed events say."""

from dataclasses import dataclass, field, replace

from securesystemslib.signer import SSlibKey

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.facts import Approved, Enrolled, Evaluated, Fact, Founded, Moved, Retired, Role, Withdrawn
from worldtune.registry.keys import public_key


@dataclass(frozen=True)
class Holder:
    """A person with one of their keys, from the time `since` on; `stolen` makes all it ever signed worthless."""

    person: str
    key: SSlibKey
    roles: tuple[Role, ...]
    since: str
    expires: str | None = None
    retired: str | None = None
    stolen: bool = False


@dataclass
class People:
    """Keys by their ids; built by `learn` from events in their order, each checked against those before."""

    holders: dict[str, Holder] = field(default_factory=dict)

    def learn(self, fact: Fact, at: str, where: str) -> None:
        """What a fact says of keys. Raises TamperError for a key that is none."""
        if isinstance(fact, Founded | Enrolled):
            try:
                key = public_key(fact.public)
            except ValueError as error:
                raise TamperError(str(error), where=where, mend="It was never written by worldtune.") from error
            expires = fact.expires if isinstance(fact, Enrolled) else None
            self.holders[key.keyid] = Holder(fact.person, key, fact.roles, at, expires)
        elif isinstance(fact, Retired) and fact.key in self.holders:
            was = self.holders[fact.key]
            self.holders[fact.key] = replace(was, retired=at, stolen=fact.stolen)

    def holder(self, key_id: str, where: str) -> Holder:
        """Raises RegistryError for a key that nobody enrolled."""
        if key_id not in self.holders:
            mend = "Have it enrolled: worldtune registry enrol NAME KEY.pub --role approver."
            raise RegistryError(f"nobody here has the key {key_id[:12]}", where=where, mend=mend)
        return self.holders[key_id]

    def may(self, holder: Holder, fact: Fact, at: str, where: str) -> None:
        """Raises RegistryError unless the holder's key and role allow the fact at that time."""
        if at < holder.since:
            what = f"the key of {holder.person} was enrolled on {holder.since}, after this"
            raise RegistryError(what, where=where, mend="Somebody changed the record.")
        if holder.expires is not None and at >= holder.expires:
            what = f"the key of {holder.person} expired on {holder.expires[:10]}"
            raise RegistryError(what, where=where, mend="Have a new one enrolled.")
        if holder.retired is not None and at >= holder.retired:
            what = f"the key of {holder.person} was retired on {holder.retired[:10]}"
            raise RegistryError(what, where=where, mend="Have a new one enrolled.")
        if isinstance(fact, Evaluated | Approved) and fact.statement is None and fact.person != holder.person:
            what = f"{holder.person} speaks for {fact.person}"
            raise RegistryError(what, where=where, mend="Everybody signs for themselves.")
        needed = roles_for(fact)
        if not set(needed) & set(holder.roles):
            what = f"{holder.person} is {', '.join(holder.roles)}, and it takes {' or '.join(needed)}"
            raise RegistryError(what, where=where, mend="Ask one of them, or an administrator to enrol you.")


def roles_for(fact: Fact) -> tuple[Role, ...]:
    """Any of these may state the fact; an administrator may do all but evaluate and approve, unless enrolled for it."""
    if isinstance(fact, Moved) and fact.how == "break-glass":
        return ("admin",)
    if isinstance(fact, Evaluated | Approved) and fact.statement is not None:  # whoever imports does not vouch for it
        return ("submitter", "admin")
    if isinstance(fact, Evaluated | Approved | Withdrawn):
        return fact.by
    return (*(role for role in fact.by if role != "admin"), "admin")
