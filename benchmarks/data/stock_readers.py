"""Compare every reader of a dataset format with the format's stock library, on a small dataset.

The datasets and the stock readers are those of `bench fuzz`.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fuzzing.datasets import Recording
from benchmarks.fuzzing.fuzz import dataset_readers
from benchmarks.fuzzing.reader import Reader
from worldtune.evaluation.report.figures import Figure, figure


def reader_figures() -> Iterator[Figure]:
    """Yield, for each format, what is compared and how many parts of recordings differ.

    Raise UserError if a stock library is not installed.
    """
    for reader in dataset_readers():
        with TemporaryDirectory() as folder:
            yield compare(reader, Path(folder))


def compare(reader: Reader, folder: Path) -> Figure:
    """Write the reader's dataset into the empty `folder` and read it both ways; a recording that only one has differs.

    The counts are the stock library's: frames, rows of states and actions, and recordings with a text.
    """
    assert reader.expect is not None
    reader.make(folder)
    found, expected = reader.read(folder), reader.expect(folder)
    shared = [name for name in expected if name in found]
    differing = len((found.keys() ^ expected.keys()) - {"loss_reported"})
    differing += sum(len(found[name].differing(expected[name], loss_reported=False)) for name in shared)
    recordings: list[Recording] = [*expected.values()]
    frames = sum(len(recording.frames_THWC) for recording in recordings)
    rows = sum(
        len(rows)
        for recording in recordings
        for rows in (recording.states_TS, recording.actions_TA)
        if rows is not None
    )
    texts = sum(any(recording.tasks) for recording in recordings)
    counts = f"{frames} frames, {rows} rows, {texts} texts"
    return figure(f"reader {reader.name} against {reader.oracle}: {counts}; differing", differing, "", "lower", 0)
