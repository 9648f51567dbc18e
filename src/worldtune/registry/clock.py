"""The time of the event log: UTC, which never goes back from one event to the next."""

import re
from datetime import UTC, datetime, timedelta

from worldtune.errors import RegistryError

MAX_CLOCK_SKEW = timedelta(minutes=1)
_DURATION = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def utc_now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)


def current_time() -> str:
    """Return the time of this machine's clock in the log's format."""
    return format_time(utc_now())


def is_ahead_of_clock(last: str) -> bool:
    """Return whether the log's time is so far ahead of this machine's clock that nothing can be written."""
    return parse_time(last) - utc_now() > MAX_CLOCK_SKEW


def format_time(time: datetime) -> str:
    """Return a time in the log's format. These texts sort like their times."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def next_event_time(last: str) -> str:
    """Return the time of an event that follows one at `last`.

    Clocks of several machines differ a little: within a minute, return the later of the two times. Raise RegistryError
    if this machine's clock is further behind, because expired approvals would become valid again.
    """
    now = current_time()
    if now >= last:
        return now
    if is_ahead_of_clock(last):
        raise RegistryError(
            f"this machine's clock shows {now}, but the log's last event is dated {last}",
            where="clock",
            hint="Correct this clock; if the event's clock was ahead, ask an administrator for `registry clock`.",
        )
    return last


def parse_duration(text: str) -> timedelta:
    """Return the duration of a text such as `8h`, `90d` or `12w`. Raise RegistryError for anything else."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise RegistryError(f"{text!r} is not a duration", where="expiry", hint="Use a form such as 8h, 90d or 12w.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
