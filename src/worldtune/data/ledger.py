"""The ledger: one row for every clip of a dataset, used or not, with the reason why it is not used."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.core.files import atomic_file
from worldtune.errors import DataError, first_line

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
        ("augmentation", pa.string()),
        ("same_footage", pa.string()),
    ]
)


@dataclass(frozen=True)
class Row:
    """One clip, used or unused with its reason.

    `split` is the clip's use. A run's ledger also has "replay" clips, which are trained on, and "retention" clips,
    which are not.

    `first_frame` counts the source's frames of the episode, `frames` the clip's frames at fps_out (of a skipped
    recording: the source's frames, at fps_in; fps_in is None if it could not be read). `speed` is how much faster the
    clip shows an event than it happened. `motion` (luma levels of the patch that moves most, at the fastest tenth of
    the steps), `still` (share of the steps without motion), `sharpness` (variance of the Laplacian) and `brightness`
    (0 to 255) are None if the clip was not measured. `augmentation` describes the changes of an augmented copy.
    `same_footage` names the recordings that show the same footage as the row's, each with the outcome.
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
    augmentation: str = ""
    same_footage: str = ""


@dataclass(frozen=True)
class Ledger:
    """The rows of one dataset, in the order of its episodes and cameras."""

    rows: tuple[Row, ...]

    def reasons(self) -> dict[str, int]:
        """Return how many rows were not used for each reason (without the text in parentheses), most frequent first."""
        return dict(Counter(row.reason.split(" (")[0] for row in self.rows if not row.kept).most_common())

    def notes(self) -> dict[str, int]:
        """Return how many used rows have each note, such as that they were retimed, most frequent first.

        Notes that differ only after a colon, for example by a file name, count as one: the first of them, and "…".
        """
        found = Counter(note for row in self.rows if row.kept and row.note for note in row.note.split("; "))
        alike: dict[str, list[str]] = defaultdict(list)
        for note in found:
            alike[note.split(": ")[0]].append(note)
        counts = {same[0] + (", …" if same[1:] else ""): sum(found[text] for text in same) for same in alike.values()}
        return dict(sorted(counts.items(), key=lambda entry: -entry[1]))

    def recordings(self) -> dict[tuple[str, str], bool]:
        """Return for each requested (episode, camera) whether any clip of it is kept."""
        found: dict[tuple[str, str], bool] = {}
        for row in self.rows:
            if row.reason not in (TASK_NOT_REQUESTED, NOT_IN_PREDEFINED_SPLIT, DEPTH, MASK):
                found[row.episode, row.camera] = found.get((row.episode, row.camera), False) or row.kept
        return found

    def share_skipped(self) -> float:
        """Return the share of the requested recordings that give no clip at all; 1 if there are no recordings."""
        found = self.recordings()
        return sum(not kept for kept in found.values()) / len(found) if found else 1.0

    def write(self, path: Path) -> None:
        """Write the rows as Parquet, atomically. Raise UserError if the folder cannot be written."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in SCHEMA.names}
        table = pa.Table.from_pydict(columns, schema=SCHEMA)
        with atomic_file(path) as partial:
            pq.write_table(table, partial)


def read_ledger(path: Path) -> Ledger:
    """Return the ledger that `Ledger.write` wrote. Raise DataError if the file cannot be read."""
    try:
        table = pq.ParquetFile(path).read().select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, OSError, KeyError) as error:
        what = f"not a readable ledger: {first_line(error)}"
        raise DataError(what, where=str(path), hint="Write it again: `worldtune check --ledger`.") from error
    columns = (table.column(name).to_pylist() for name in SCHEMA.names)
    return Ledger(tuple(Row(*values) for values in zip(*columns, strict=True)))


def with_split(ledger: Ledger, use: str, split: str | None = None) -> Ledger:
    """Return the ledger with `use` as the split of every used row, or only of those in `split` if it is given."""
    is_used = (row.kept and split in (None, row.split) for row in ledger.rows)
    return Ledger(
        tuple(replace(row, split=use) if used else row for row, used in zip(ledger.rows, is_used, strict=True))
    )


def join_ledgers(ledgers: Iterable[Ledger]) -> Ledger:
    """Return one ledger with the rows of all, in order."""
    return Ledger(tuple(row for ledger in ledgers for row in ledger.rows))


TASK_NOT_REQUESTED = "task not asked for"
NOT_IN_PREDEFINED_SPLIT = "in no split that the source states"
DEPTH = "a depth map, not a picture"
MASK = "a map of segments, normals or motion, not a picture"
