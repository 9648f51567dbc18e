"""Thousands of seeded mutations of every kind of file that worldtune reads.

Whatever a reader makes of one, it is a refusal in one line, or the file's own meaning: no traceback, no hang, no crash
and no other value in silence. The mutation of a number is always the same: `remake` makes it again.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from worldtune.bench.fuzzing.process import trials
from worldtune.bench.fuzzing.reader import FAULTS, Reader, Trial, damage
from worldtune.errors import UserError
from worldtune.evaluation.report.figures import Figure, figure

MUTATIONS, FEW = 5000, 6
SECONDS = 20.0  # after which a reader is taken to hang
SHOWN = 40, 100  # characters of a mutation, and of what came of it
Advance = Callable[[int, int], None]


def measure(*, quick: bool, on_part: Advance = lambda done, total: None) -> list[Figure]:
    """Every figure; `quick` are few mutations of each reader."""
    readers = all_readers()
    each = FEW if quick else -(-MUTATIONS // len(readers))
    found: list[Trial] = []
    with tempfile.TemporaryDirectory() as place:
        for done, reader in enumerate(readers, start=1):
            found += fuzz(reader, range(each), Path(place))
            on_part(done, len(readers))
    return list(figures(found, readers, None if quick else MUTATIONS))


def all_readers() -> tuple[Reader, ...]:
    """Every reader. Raises UserError where a package that one needs is not installed."""
    try:
        import h5py  # noqa: F401
        import rosbags  # noqa: F401
    except ImportError as error:
        what = f"bench fuzz reads HDF5 and ROS recordings, and {error.name} is not installed"
        raise UserError(what, where="bench fuzz", mend="pip install 'worldtune[sources]'.") from error
    import cv2
    import torch

    from worldtune.bench.fuzzing import (
        adapters,
        bundles,
        datasets,
        folders,
        lerobot,
        pictures,
        recordings,
        records,
        requests,
        settings,
        weights,
    )

    torch.set_num_threads(1)  # the readers' processes are forks, and threads do not come along
    cv2.setNumThreads(1)
    rooms = (weights, adapters, settings, requests, records, bundles, lerobot, datasets, folders, recordings, pictures)
    return tuple(reader for room in rooms for reader in room.READERS)


def fuzz(reader: Reader, numbers: Sequence[int], place: Path, seconds: float = SECONDS) -> Iterator[Trial]:
    """What becomes of the reader's mutations; the sample lies under `place` meanwhile."""
    folder = place / "".join(letter if letter.isalnum() else "-" for letter in reader.name)
    folder.mkdir()
    yield from trials(reader, numbers, folder, seconds)


def remake(name: str, number: int, folder: Path) -> str:
    """Write the reader's sample and its mutation of that number into `folder`, and say what the mutation is.

    A release is signed by other keys each time: there the mutation is of the same kind.
    """
    (reader,) = (each for each in all_readers() if each.name == name)
    sound = folder / "sound"
    sound.mkdir(parents=True)
    reader.make(sound)
    return damage(reader, sound, number, folder / "tried")


def figures(found: Sequence[Trial], readers: Sequence[Reader], goal: int | None) -> Iterator[Figure]:
    """The counts of all, of each reader, and every kind of fault with the first mutation that showed it."""
    yield figure("mutations", len(found), "", "higher", goal)
    for outcome, plural in FAULTS.items():
        yield figure(plural, sum(trial.outcome == outcome for trial in found), "", "lower", 0)
    for reader in readers:
        its = Counter(trial.outcome for trial in found if trial.reader == reader.name)
        told = f"{its['refused']} refused, {its['same']} the same, {its['other']} others as by {reader.oracle}"
        yield figure(f"{reader.name}: {told}; faults", sum(its[outcome] for outcome in FAULTS), "", "lower", 0)
    kinds: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in found:
        if trial.outcome in FAULTS:
            kinds.setdefault((trial.reader, trial.outcome, trial.what.split(":")[0]), []).append(trial)
    for (name, _, _), alike in kinds.items():
        first = alike[0]
        mutation, what = first.mutation[: SHOWN[0]], first.what[: SHOWN[1]]
        told = f"{name}: {first.outcome}, first by number {first.number} ({mutation}): {what}"
        yield figure(told, len(alike), "", "lower", 0)
