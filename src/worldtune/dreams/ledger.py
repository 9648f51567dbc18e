"""The ledger of a dream set, `ledger.jsonl`: one row for each dream, written when the dream is complete."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from worldtune.core.files import atomic_file
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import MAX_JSON_BYTES, parse_json, read_bytes
from worldtune.dreams.request import Outcome
from worldtune.errors import DataError, RecipeError

LEDGER = "ledger.jsonl"
HINT = "Restore the file, or make the dreams again in another folder."


class DreamRow(StrictModel):
    """One dream: its origin, its models, what the critics measured, and whether it is kept.

    source, episode, camera and frame (the SHA-256 of its pixels) say where the first frame is from. adapter: the
    SHA-256 of the adapter's card, None for the base alone; release: its name in a registry. base, idm, video and
    labels are digests; critics are the critics' digests by name. reason: why it is not kept. duplicate_of: the kept
    dream that shows the same. withdrawn: its adapter was withdrawn, and its files are removed.
    """

    name: str
    source: str
    episode: str
    camera: str
    frame: str
    task: str
    prompt: str
    outcome: Outcome
    seed: int
    adapter: str | None
    adapter_name: str
    release: str | None
    base: str
    idm: str
    video: str
    labels: str
    critics: dict[str, str]
    values: dict[str, float]
    kept: bool
    reason: str = ""
    duplicate_of: str | None = None
    withdrawn: bool = False
    seconds: float


def append_rows(folder: Path, rows: Iterable[DreamRow]) -> None:
    """Append rows to the ledger of `folder`, and wait until they are on disk."""
    content = "".join(_line(row) for row in rows).encode()
    path = folder / LEDGER
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    with open(descriptor, "ab", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


def write_rows(folder: Path, rows: Iterable[DreamRow]) -> None:
    """Write the whole ledger, atomically."""
    with atomic_file(folder / LEDGER) as partial:
        partial.write_text("".join(_line(row) for row in rows), encoding="utf-8")


def read_rows(folder: Path) -> list[DreamRow]:
    """Return the rows of the ledger in `folder`; a last line that a killed process did not finish is left out.

    Raise DataError if the ledger is missing or damaged, or has two rows of one dream.
    """
    path = folder / LEDGER
    *lines, _unfinished = read_bytes(path, MAX_JSON_BYTES, DataError, HINT).split(b"\n")
    rows: dict[str, DreamRow] = {}
    for number, line in enumerate(lines, start=1):
        row = _parse(line, f"{path}, line {number}")
        if row.name in rows:
            raise DataError(f"the dream {row.name} has two rows", where=str(path), hint=HINT)
        rows[row.name] = row
    return list(rows.values())


def kept_rows(rows: Sequence[DreamRow]) -> list[DreamRow]:
    """Return the rows of the dreams that are kept."""
    return [row for row in rows if row.kept]


def _line(row: DreamRow) -> str:
    return json.dumps(row.model_dump(mode="json"), ensure_ascii=False) + "\n"


def _parse(line: bytes, where: str) -> DreamRow:
    try:
        return parse_model(DreamRow, parse_json(line, where, hint=HINT), where)
    except RecipeError as error:
        raise DataError(error.what, where=error.where, hint=HINT) from error
