"""Identities: a person with one of their keys, as the signed events state."""

from dataclasses import dataclass
from functools import cache

from securesystemslib.signer import SSlibKey

from worldtune.registry.events.events import Role
from worldtune.registry.signing.keys import parse_public_key


@dataclass(frozen=True)
class Identity:
    """A person with one of their keys. If the key is `stolen`, nothing that it let in counts.

    `since` and `retired` are positions in the log, because two events may share a time; `retired_at` is for display.
    `added_by` is the key that enrolled this one.
    """

    key: str
    person: str
    pem: str
    roles: tuple[Role, ...]
    since: int
    added_by: str
    expires: str | None = None
    retired: int | None = None
    retired_at: str | None = None
    stolen: bool = False

    @property
    def public(self) -> SSlibKey:
        return _public(self.pem)

    def is_administrator(self, at: str) -> bool:
        """Return whether the key may administer the registry at a time."""
        valid = self.retired is None and (self.expires is None or at < self.expires)
        return valid and "admin" in self.roles


@cache
def _public(pem: str) -> SSlibKey:
    return parse_public_key(pem)
