"""Something is tried, and whatever it raises is a finding: the one place that catches everything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Raised:
    """What was raised in place of an answer."""

    error: BaseException


def attempt(act: Callable[[], Value]) -> Value | Raised:
    """The answer of `act`, or what it raised. Raises KeyboardInterrupt alone."""
    try:
        return act()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # some libraries' errors are no Exception
        return Raised(error)
