"""The ledger: one row for every clip that a dataset gives and for everything it does not give, with the reason."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.errors import DataError, first_line
from worldtune.files import atomic_file

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("episode", pa.string()),
        ("camera", pa.string()),
        ("task", pa.string()),
        ("caption", pa.string()),
        ("first_frame", pa.int64()),
        ("frames", pa.int64()),
        ("fps_in", pa.float64()),
        ("fps_out", pa.float64()),
        ("kept", pa.bool_()),
        ("split", pa.string()),
        ("reason", pa.string()),
        ("note", pa.string()),
        ("session", pa.string()),
        ("caption_origin", pa.string()),
        ("speed", pa.float64()),
        ("motion", pa.float64()),
        ("still", pa.float64()),
        ("sharpness", pa.float64()),
        ("brightness", pa.float64()),
        ("change", pa.string()),
    ]
)


@dataclass(frozen=True)
class Row:
    """One clip that is used, or one that is not and why.

    `split` is what it is used for: of a run's ledger, "replay" clips are trained on too, "forgetting" clips are not.

    `first_frame` counts the source's frames of the episode, `frames` those of the clip at fps_out
    (of a lost recording: the source's, at fps_in; fps_in is None when it could not be read). `speed` is how much
    faster the clip shows what happens than it happened. `motion` (luma levels, of the patch that moves most, at the
    fastest tenth of the steps), `still` (share of the steps at which nothing moves), `sharpness` (variance of the
    Laplacian) and `brightness` (0 to 255) are None where no clip was looked at. `change` is that of a changed copy.
    """

    source: str
    episode: str
    camera: str
    task: str
    caption: str
    first_frame: int
    frames: int
    fps_in: float | None
    fps_out: float
    kept: bool = False
    split: str = ""
    reason: str = ""
    note: str = ""
    session: str = ""
    caption_origin: str = ""
    speed: float = 1.0
    motion: float | None = None
    still: float | None = None
    sharpness: float | None = None
    brightness: float | None = None
    change: str = ""


@dataclass(frozen=True)
class Ledger:
    """The rows of one dataset, in the order of its episodes and cameras."""

    rows: tuple[Row, ...]

    def reasons(self) -> dict[str, int]:
        """How many rows were not used for each reason (what stands in brackets left out), most first."""
        return dict(Counter(row.reason.split(" (")[0] for row in self.rows if not row.kept).most_common())

    def notes(self) -> dict[str, int]:
        """How many rows are used with each remark, as that they were retimed, most first."""
        return dict(Counter(row.note for row in self.rows if row.kept and row.note).most_common())

    def recordings(self) -> dict[tuple[str, str], bool]:
        """For each (episode, camera) that was asked for: is any clip of it kept?"""
        found: dict[tuple[str, str], bool] = {}
        for row in self.rows:
            if row.reason not in (UNASKED, DEPTH):
                found[row.episode, row.camera] = found.get((row.episode, row.camera), False) or row.kept
        return found

    def share_lost(self) -> float:
        """The share of the recordings asked for that give no clip at all; 1 when there are none."""
        found = self.recordings()
        return sum(not kept for kept in found.values()) / len(found) if found else 1.0

    def write(self, path: Path) -> None:
        """Write `ledger.parquet`, atomically. Raises UserError when the folder cannot be written."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in SCHEMA.names}
        table = pa.Table.from_pydict(columns, schema=SCHEMA)
        with atomic_file(path) as partial:
            pq.write_table(table, partial)


def read_ledger(path: Path) -> Ledger:
    """What `Ledger.write` wrote. Raises DataError when the file cannot be read."""
    try:
        table = pq.ParquetFile(path).read().select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, OSError, KeyError) as error:
        what = f"not a readable ledger: {first_line(error)}"
        raise DataError(what, where=str(path), mend="Write it again: `worldtune check --ledger`.") from error
    columns = (table.column(name).to_pylist() for name in SCHEMA.names)
    return Ledger(tuple(Row(*values) for values in zip(*columns, strict=True)))


def used_for(ledger: Ledger, use: str, split: str | None = None) -> Ledger:
    """The ledger of a dataset whose clips, of one split where it is said, are used for one thing."""
    its = (row.kept and split in (None, row.split) for row in ledger.rows)
    return Ledger(tuple(replace(row, split=use) if one else row for row, one in zip(ledger.rows, its, strict=True)))


def join_ledgers(ledgers: Iterable[Ledger]) -> Ledger:
    """The rows of several datasets, one after the other."""
    return Ledger(tuple(row for ledger in ledgers for row in ledger.rows))


UNASKED = "task not asked for"
DEPTH = "a depth map, not a picture"
