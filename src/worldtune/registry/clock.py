"""The time of the event log: UTC, which never goes back from one event to the next."""

import re
from datetime import UTC, datetime, timedelta

from worldtune.errors import RegistryError

TOLERATED = timedelta(minutes=1)
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def now() -> datetime:
    """What the machine's clock says."""
    return datetime.now(UTC)


def time_here() -> str:
    """The same as the log keeps it."""
    return text_of(now())


def is_ahead(last: str) -> bool:
    """Is the log's time so far ahead of this machine's that it writes no more?"""
    return time_of(last) - now() > TOLERATED


def text_of(time: datetime) -> str:
    """As the log keeps it; such texts sort as their times do."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_of(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def time_after(last: str) -> str:
    """The time of an event that follows one at `last`.

    Clocks of several machines differ a little: within a minute the later of both holds. Raises RegistryError when the
    clock is further back: what has expired would be valid again.
    """
    here = time_here()
    if here >= last:
        return here
    if is_ahead(last):
        raise RegistryError(
            f"this machine's clock says {here}, and the log's last event is of {last}",
            where="clock",
            mend="Set this clock right; or, if that event's was ahead, have an administrator run `registry clock`.",
        )
    return last


def span_of(text: str) -> timedelta:
    """`8h`, `90d` or `12w`. Raises RegistryError for anything else."""
    match = _SPAN.fullmatch(text)
    if not match:
        raise RegistryError(f"{text!r} is no length of time", where="expiry", mend="Say 8h, 90d or 12w.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
