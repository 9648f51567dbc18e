"""The newest event that this user saw, or pinned: a log that lacks it was cut off, set back, or is another."""

import os
from pathlib import Path

from worldtune.errors import RecipeError, RegistryError, TamperError, UserError
from worldtune.files import write_json
from worldtune.registry.log.entries import Note
from worldtune.registry.log.event_log import MEND, Head
from worldtune.registry.manifest import parse_json
from worldtune.strict import Strict, parse


class SeenHead(Strict):
    """A place in the log and the hash of the event there."""

    sequence: int
    hash: str


def seen_path(registry: str, founder: str) -> Path:
    """Where it is kept: `worldtune/heads` in $XDG_STATE_HOME (default ~/.local/state)."""
    folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(folder) / "worldtune" / "heads" / f"{registry}-{founder[:16]}.json"


def read_seen(path: Path) -> Head:
    """The head that was seen; the empty log's where none was. Raises RegistryError for a file that is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Head()
    except OSError as error:
        raise RegistryError(
            f"it cannot be read: {error.strerror}", where=str(path), mend="Correct its mode."
        ) from error
    try:
        found = parse(SeenHead, parse_json(content, str(path)), str(path))
    except RecipeError as error:
        raise RegistryError(error.what, where=str(path), mend="Remove it, if you know why it is damaged.") from error
    return Head(found.sequence, found.hash)


def keep_seen(path: Path, head: Head, note: Note) -> None:
    """Keep a newer head. A head that cannot be kept is noted: nothing of what was done is undone by it."""
    try:
        if head.sequence > read_seen(path).sequence:
            write_json(path, {"sequence": head.sequence, "hash": head.hash})
    except (OSError, UserError) as error:
        note(f"this machine does not remember the newest event: {error}")


def cut_off(sequence: int, where: str) -> TamperError:
    """What is said of a log that lacks an event that was seen."""
    what = f"the event {sequence} that this machine saw is not in the log any more"
    return TamperError(what, where=where, mend=MEND)
