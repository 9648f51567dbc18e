"""Progress of a long job: one protocol for all functions that report it, and named stages."""

from typing import Protocol

SEPARATOR = ": "


class Progress(Protocol):
    """A callback with the number of finished parts, the number of all parts, and a note to show.

    An exception that it raises ends the job, as Ctrl-C does.
    """

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def silent(done: int, total: int, note: str = "") -> None:
    """Show nothing."""


def part_of(progress: Progress, before: int, total: int) -> Progress:
    """Return the progress of a part of a job: it adds `before` to the finished parts, out of `total`."""
    return lambda done, _total, note="": progress(before + done, total, note)


def stage(progress: Progress, name: str) -> Progress:
    """Start a stage and return its Progress, whose notes begin with the name. The total is 0 until it is known."""
    progress(0, 0, name)

    def advance(done: int, total: int, note: str = "") -> None:
        progress(done, total, f"{name}{SEPARATOR}{note}" if note else name)

    return advance


def split_note(note: str) -> tuple[str, str]:
    """Return the stage's name and the rest of a note."""
    name, _, rest = note.partition(SEPARATOR)
    return name, rest
