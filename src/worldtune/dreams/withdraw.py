"""Withdraw an adapter's dreams: remove their files, and keep their rows, so that they are not made again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldtune.core.files import lock_folder
from worldtune.data.made_with import MADE_WITH, write_made_with
from worldtune.dreams.critics.select import mark_duplicates
from worldtune.dreams.dream_folder import DreamFolder
from worldtune.dreams.ledger import DreamRow, read_rows, write_rows
from worldtune.dreams.making.worker import LABELS, VIDEOS
from worldtune.errors import DataError

WITHDRAWN = "withdrawn: its adapter"


@dataclass(frozen=True)
class Withdrawal:
    """How many dreams of an adapter were withdrawn, and how many kept dreams are left."""

    withdrawn: int
    kept: int


def find_adapter(rows: Sequence[DreamRow], text: str) -> str:
    """Return the digest of the adapter's card that `text` names: its name or release in the ledger, or the digest.

    Raise DataError if no dream is of this adapter, or `text` begins the digests of several.
    """
    found = {
        row.adapter
        for row in rows
        if row.adapter
        and (text in (row.adapter_name, row.release) or (len(text) >= 8 and row.adapter.startswith(text)))
    }
    if len(found) == 1:
        return found.pop()
    known = ", ".join(sorted({f"{row.release or row.adapter_name} {row.adapter[:12]}" for row in rows if row.adapter}))
    what = f"{len(found) or 'no'} adapters of these dreams are called {text}"
    raise DataError(what, where="--adapter", hint=f"The dreams were made with: {known or 'the base alone'}.")


def withdraw_adapter(folder: Path, adapter: str) -> Withdrawal:
    """Withdraw the dreams of the adapter that `find_adapter` finds. Repeating it changes nothing.

    Rows are marked first, then files are removed, so that a killed process leaves no kept dream without a video.
    A dream of another adapter that was a duplicate of a withdrawn one is kept now. Raise DataError as `find_adapter`.
    """
    dreams = DreamFolder(folder)
    with lock_folder(folder):
        rows = read_rows(folder)
        card = find_adapter(rows, adapter)
        changes = {"kept": False, "withdrawn": True, "duplicate_of": None, "reason": WITHDRAWN}
        rows = [row.model_copy(update=changes) if row.adapter == card else row for row in rows]
        rows = mark_duplicates(folder, rows, dreams.plan().size)
        write_rows(folder, rows)
        for row in rows:
            if row.withdrawn:
                (folder / VIDEOS / f"{row.name}.mp4").unlink(missing_ok=True)
                (folder / LABELS / f"{row.name}.npz").unlink(missing_ok=True)
        write_made_with(folder / MADE_WITH, dreams.made_with().without(card))
    return Withdrawal(sum(row.adapter == card for row in rows), sum(row.kept for row in rows))
