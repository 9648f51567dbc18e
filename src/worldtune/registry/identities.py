"""Who may sign: a person with one of their keys, as the signed events say."""

from dataclasses import dataclass
from functools import cache

from securesystemslib.signer import SSlibKey

from worldtune.registry.facts import Role
from worldtune.registry.keys import public_key


@dataclass(frozen=True)
class Identity:
    """A person with one of their keys; `stolen` makes all that it ever let in worthless.

    `since` and `retired` are places in the log: two events may share a time. `retired_at` is for people to read.
    `by` is the key that enrolled it.
    """

    key: str
    person: str
    pem: str
    roles: tuple[Role, ...]
    since: int
    by: str
    expires: str | None = None
    retired: int | None = None
    retired_at: str | None = None
    stolen: bool = False

    @property
    def public(self) -> SSlibKey:
        return _public(self.pem)

    def is_administrator(self, at: str) -> bool:
        """May it administer the registry at a time?"""
        valid = self.retired is None and (self.expires is None or at < self.expires)
        return valid and "admin" in self.roles


@cache
def _public(pem: str) -> SSlibKey:
    return public_key(pem)
