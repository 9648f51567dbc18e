"""The exceptions that a user sees: one line that says what is wrong, where, and how to fix it."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def did_you_mean(name: str, known: Iterable[str], otherwise: str, likeness: float = 0.4) -> str:
    """Return a hint for a misspelled name: the nearest one of at least this likeness (0 to 1), or `otherwise`."""
    near = get_close_matches(name, known, n=1, cutoff=likeness)
    return f"Did you mean '{near[0]}'?" if near else otherwise


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class UserError(Exception):
    """An error that the user can fix. The command line prints it and exits with code 2: nothing was changed.

    `what` is the fault, `where` its file, key or clip, and `hint` an instruction to fix it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str, hint: str) -> None:
        super().__init__(f"{what} [{where}]. {hint}")
        self.what = what
        self.where = where
        self.hint = hint

    def __reduce__(self) -> "tuple[Any, ...]":
        """Make the error picklable, so that a parent process receives it unchanged."""
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(kind: "type[UserError]", what: str, where: str, hint: str) -> "UserError":
    return kind(what, where=where, hint=hint)


class BusyError(UserError):
    """A folder or file that another process is using."""


class RecipeError(UserError):
    """A recipe or request that is not valid."""


class DataError(UserError):
    """A dataset, clip, video or caption that cannot be used."""


class BaseError(UserError):
    """A base model that is missing, incomplete or of the wrong kind."""


class AdapterError(UserError):
    """An adapter that is damaged or made for another base."""


class RegistryError(UserError):
    """An operation that the registry rejects, or cannot do now."""


class PublishedError(RegistryError):
    """A publication that succeeded but could not be recorded: exit code 3, because 2 means that nothing was changed."""

    exit_code = 3


class TamperError(RegistryError):
    """Bytes or a record that were changed after they were written."""


class PreflightError(UserError):
    """A training run that provably cannot train, or did not train, its adapter."""
