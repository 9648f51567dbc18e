"""The newest event that this user saw or pinned. A log without it was truncated, restored from a copy, or replaced."""

import os
from pathlib import Path

from worldtune.core.files import write_json
from worldtune.core.settings import StrictModel, parse_model
from worldtune.errors import RecipeError, RegistryError, TamperError, UserError
from worldtune.registry.log.entries import Note
from worldtune.registry.log.event_log import LOG_HINT, Head
from worldtune.registry.store.manifest import parse_json


class SeenHead(StrictModel):
    """A position in the log and the hash of its event."""

    sequence: int
    hash: str


def seen_head_path(registry: str, founder: str) -> Path:
    """Return its file in `worldtune/heads` of $XDG_STATE_HOME (default ~/.local/state)."""
    folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(folder) / "worldtune" / "heads" / f"{registry}-{founder[:16]}.json"


def read_seen_head(path: Path) -> Head:
    """Return the head that was seen, or an empty log's head. Raise RegistryError if the file is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Head()
    except OSError as error:
        raise RegistryError(
            f"the file cannot be read: {error.strerror}", where=str(path), hint="Correct its permissions."
        ) from error
    try:
        found = parse_model(SeenHead, parse_json(content, str(path)), str(path))
    except RecipeError as error:
        hint = "Remove the file if you know why it is damaged."
        raise RegistryError(error.what, where=str(path), hint=hint) from error
    return Head(found.sequence, found.hash)


def save_seen_head(path: Path, head: Head, note: Note) -> None:
    """Save a head if it is newer. A failure is noted and does not undo anything."""
    try:
        if head.sequence > read_seen_head(path).sequence:
            write_json(path, {"sequence": head.sequence, "hash": head.hash})
    except (OSError, UserError) as error:
        note(f"this machine could not save the newest event that it saw: {error}")


def truncated_log_error(sequence: int, where: str) -> TamperError:
    """Return the error for a log that lacks an event that was seen."""
    what = f"event {sequence}, which this machine saw, is no longer in the log"
    return TamperError(what, where=where, hint=LOG_HINT)
