"""Who may sign what: keys, roles, expiry and retirement, as the signed events say."""

from dataclasses import dataclass, field, replace

from securesystemslib.signer import SSlibKey

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.facts import (
    Approved,
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
from worldtune.registry.keys import public_key


@dataclass(frozen=True)
class Holder:
    """A person with one of their keys; `stolen` makes all that it ever let in worthless.

    `since` and `retired` are places in the record: two events may share a time. `retired_at` is for people to read.
    `by` is the key that enrolled it.
    """

    person: str
    key: SSlibKey
    roles: tuple[Role, ...]
    since: int
    by: str
    expires: str | None = None
    retired: int | None = None
    retired_at: str | None = None
    stolen: bool = False


@dataclass
class People:
    """Keys by their ids; built by `learn` from events in their order, each checked against those before."""

    holders: dict[str, Holder] = field(default_factory=dict)

    def learn(self, fact: Fact, at: str, sequence: int, by: str) -> None:
        """What a fact at a place in the record, signed `by` a key, says of keys. Raises TamperError for no key."""
        where = f"event {sequence}"
        if isinstance(fact, Founded | Enrolled):
            try:
                key = public_key(fact.public)
            except ValueError as error:
                raise TamperError(str(error), where=where, mend="It was never written by worldtune.") from error
            expires = fact.expires if isinstance(fact, Enrolled) else None
            self.holders[key.keyid] = Holder(fact.person, key, fact.roles, sequence, by, expires)
        elif isinstance(fact, Retired) and fact.key in self.holders:
            was = self.holders[fact.key]
            self.holders[fact.key] = replace(
                was,
                retired=was.retired or sequence,
                retired_at=was.retired_at or at,
                stolen=was.stolen or fact.stolen,
            )

    def holder(self, key_id: str, where: str) -> Holder:
        """Raises RegistryError for a key that nobody enrolled."""
        if key_id not in self.holders:
            mend = "Have it enrolled: worldtune registry enrol NAME KEY.pub --role ROLE."
            raise RegistryError(f"nobody here has the key {key_id}", where=where, mend=mend)
        return self.holders[key_id]

    def may(self, holder: Holder, fact: Fact, at: str, sequence: int, where: str) -> None:
        """Raises RegistryError unless the holder's key and role allow the fact at that time and place."""
        if sequence < holder.since:
            what = f"the key of {holder.person} was enrolled by event {holder.since}, after this"
            raise RegistryError(what, where=where, mend="Somebody changed the record.")
        if holder.expires is not None and at >= holder.expires:
            what = f"the key of {holder.person} expired on {holder.expires[:10]}"
            raise RegistryError(what, where=where, mend="Have a new one enrolled.")
        if holder.retired is not None and sequence > holder.retired:
            what = f"the key of {holder.person} was retired on {(holder.retired_at or '')[:10]}"
            raise RegistryError(what, where=where, mend="Have a new one enrolled.")
        speaker = speaker_of(fact)
        if speaker is not None and fact.brought is None and speaker != holder.person:
            what = f"{holder.person} speaks for {speaker}"
            raise RegistryError(what, where=where, mend="Everybody signs for themselves.")
        needed = roles_for(fact)
        if not set(needed) & set(holder.roles):
            what = f"{holder.person} is {', '.join(holder.roles)}, and it takes {' or '.join(needed)}"
            able = {one.person for one in self.holders.values() if set(needed) & set(one.roles) and not one.retired}
            mend = f"Ask {' or '.join(sorted(able)) or 'an administrator to enrol somebody'}."
            raise RegistryError(what, where=where, mend=mend)
        if isinstance(fact, ClockSet) and holder.expires is not None:  # else it could make itself valid again
            what = f"the key of {holder.person} expires, and the clock is set by one that does not"
            mend = "Ask the founder, or an administrator whose key does not expire."
            raise RegistryError(what, where=where, mend=mend)


def speaker_of(fact: Fact) -> str | None:
    """Whose word a fact is, where that need not be who wrote it into the record: it may have been brought along."""
    if isinstance(fact, Released):
        return fact.author
    return fact.person if isinstance(fact, Evaluated | Approved) else None


def roles_for(fact: Fact) -> tuple[Role, ...]:
    """Any of these may state the fact; an administrator may do all but evaluate and approve, unless enrolled for it."""
    if isinstance(fact, Moved) and fact.how == "break-glass":
        return ("admin",)
    if (
        isinstance(fact, Evaluated | Approved | Revoked) and fact.brought is not None
    ):  # who imports does not vouch for it
        return ("submitter", *(("approver",) if isinstance(fact, Revoked) else ()), "admin")
    if isinstance(fact, Evaluated | Approved | Withdrawn):
        return fact.by
    return (*(role for role in fact.by if role != "admin"), "admin")
