"""Try something, and treat whatever it raises as a finding: the only place that catches everything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Raised:
    """What was raised instead of an answer."""

    error: BaseException


def attempt(act: Callable[[], Value]) -> Value | Raised:
    """Return the answer of `act`, or what it raised. Raise only KeyboardInterrupt."""
    try:
        return act()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # some libraries' errors are not Exceptions
        return Raised(error)
