"""The exceptions a user sees: one line that says what is wrong, where, and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def did_you_mean(name: str, known: Iterable[str], otherwise: str, likeness: float = 0.4) -> str:
    """How to mend a misspelt name: the nearest known one, at least that alike (0 to 1), or else `otherwise`."""
    near = get_close_matches(name, known, n=1, cutoff=likeness)
    return f"Did you mean '{near[0]}'?" if near else otherwise


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line; its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class UserError(Exception):
    """A mistake the user can mend; the command line prints it and exits with code 2, which says that nothing happened.

    `what` is the fault, `where` the file, key or clip it is in, `mend` what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str, mend: str) -> None:
        super().__init__(f"{what} [{where}]. {mend}")
        self.what = what
        self.where = where
        self.mend = mend

    def __reduce__(self) -> "tuple[Any, ...]":
        """It reaches the parent of a process as it is."""
        return _again, (type(self), self.what, self.where, self.mend)


def _again(kind: "type[UserError]", what: str, where: str, mend: str) -> "UserError":
    return kind(what, where=where, mend=mend)


class BusyError(UserError):
    """Something that another process is using."""


class RecipeError(UserError):
    """A recipe or request that cannot be understood."""


class DataError(UserError):
    """A dataset, clip, video or caption that cannot be used."""


class BaseError(UserError):
    """A base model that is absent, incomplete or of another kind."""


class AdapterError(UserError):
    """An adapter that is damaged or made for another base."""


class RegistryError(UserError):
    """What the registry refuses, or cannot do now."""


class PublishedError(RegistryError):
    """Something was published and could not be written down: exit code 3, as 2 says that nothing happened."""

    exit_code = 3


class TamperError(RegistryError):
    """Bytes or a record that are not what was written."""


class BirthProofError(UserError):
    """A training run whose adapter provably does not do what training must do."""
