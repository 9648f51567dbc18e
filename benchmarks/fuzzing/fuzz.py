"""Thousands of seeded mutations of every kind of file that worldtune reads.

A reader must either reject a mutated file in one line, or read its exact meaning: no traceback, no hang, no crash, and
no wrong value without an error. A mutation's number determines it; `remake` makes it again.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.fuzzing.process import run_trials
from benchmarks.fuzzing.reader import FAULTS, Reader, Trial, mutate_sample
from worldtune.core.progress import Progress, silent
from worldtune.errors import UserError
from worldtune.evaluation.report.figures import Figure, figure

MUTATIONS, FEW = 5000, 4
SECONDS = 20.0  # after this time a reader counts as hanging
SHOWN = 40, 100  # characters of a mutation, and of its result
STOCK = ("google.protobuf", "google_crc32c", "h5py", "mcap", "rosbags", "zarr")


def measure(*, quick: bool, on_part: Progress = silent) -> list[Figure]:
    """Return every figure; `quick` tries only a few mutations of each reader."""
    import cv2
    import torch

    torch.set_num_threads(1)  # the readers' processes are forks, which lose threads
    cv2.setNumThreads(1)
    readers = all_readers()
    per_reader = FEW if quick else -(-MUTATIONS // len(readers))
    found: list[Trial] = []
    with tempfile.TemporaryDirectory() as place:
        for done, reader in enumerate(readers, start=1):
            found += fuzz(reader, range(per_reader), Path(place))
            on_part(done, len(readers))
    return list(figures(found, readers, None if quick else MUTATIONS))


def all_readers() -> tuple[Reader, ...]:
    """Return every reader. Raise UserError if a package that one needs is not installed."""
    try:
        for package in STOCK:
            import_module(package)
    except ImportError as error:
        what = f"the readers are compared with stock libraries, and {error.name} is not installed"
        raise UserError(what, where="worldtune bench", hint="pip install 'worldtune[dev]'.") from error
    from benchmarks.fuzzing import (
        adapters,
        bundles,
        containers,
        datasets,
        folders,
        foxglove,
        lerobot,
        picture_folders,
        pictures,
        recordings,
        records,
        requests,
        rlds,
        robot_hdf5,
        settings,
        weights,
        zarr_groups,
    )

    dataset_modules = (
        lerobot,
        datasets,
        robot_hdf5,
        zarr_groups,
        rlds,
        folders,
        containers,
        picture_folders,
        recordings,
        foxglove,
    )
    modules = (weights, adapters, settings, requests, records, bundles, *dataset_modules, pictures)
    return tuple(reader for module in modules for reader in module.READERS)


def dataset_readers() -> tuple[Reader, ...]:
    """Return the readers of recordings. Raise UserError as `all_readers` does."""
    from benchmarks.fuzzing.datasets import agree

    return tuple(reader for reader in all_readers() if reader.agree is agree)


def fuzz(reader: Reader, numbers: Sequence[int], place: Path, seconds: float = SECONDS) -> Iterator[Trial]:
    """Yield the result of each of the reader's mutations; the sample is stored under `place` meanwhile."""
    folder = place / "".join(letter if letter.isalnum() else "-" for letter in reader.name)
    folder.mkdir()
    yield from run_trials(reader, numbers, folder, seconds)


def remake(name: str, number: int, folder: Path) -> str:
    """Write the reader's sample and its mutation of that number into `folder`, and return what the mutation is.

    A release is signed by other keys each time; its mutation is then only of the same kind.
    """
    (reader,) = (reader for reader in all_readers() if reader.name == name)
    sound = folder / "sound"
    sound.mkdir(parents=True)
    reader.make(sound)
    return mutate_sample(reader, sound, number, folder / "tried")


def figures(found: Sequence[Trial], readers: Sequence[Reader], goal: int | None) -> Iterator[Figure]:
    """Yield the counts in total and by reader, and every kind of fault with the first mutation that showed it."""
    yield figure("mutations", len(found), "", "higher", goal)
    for outcome, plural in FAULTS.items():
        yield figure(plural, sum(trial.outcome == outcome for trial in found), "", "lower", 0)
    for reader in readers:
        counts = Counter(trial.outcome for trial in found if trial.reader == reader.name)
        label = (
            f"{counts['refused']} refused, {counts['same']} the same, {counts['other']} others as by {reader.oracle}"
        )
        yield figure(f"{reader.name}: {label}; faults", sum(counts[outcome] for outcome in FAULTS), "", "lower", 0)
    kinds: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in found:
        if trial.outcome in FAULTS:
            kinds.setdefault((trial.reader, trial.outcome, trial.what.split(":")[0]), []).append(trial)
    for (name, _, _), trials_of_kind in kinds.items():
        first = trials_of_kind[0]
        mutation, what = first.mutation[: SHOWN[0]], first.what[: SHOWN[1]]
        label = f"{name}: {first.outcome}, first by number {first.number} ({mutation}): {what}"
        yield figure(label, len(trials_of_kind), "", "lower", 0)
