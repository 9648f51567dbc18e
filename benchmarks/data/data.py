"""From files to batches: decoding, encoding, the store and the ledger, measured.

Each figure of encoding has its own processes, because a process does not return memory that it once took.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.data.copies import copy_figures, real_datasets
from benchmarks.data.curation import curation_figures
from benchmarks.data.decoding import decoding_ratios
from benchmarks.data.footage import FPS, write_episodes
from benchmarks.data.stock_readers import reader_figures
from benchmarks.ratio import ROUNDS
from benchmarks.subprocess_measurement import measure_in_subprocess
from benchmarks.training.training_steps import our_step
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.progress import Progress, silent
from worldtune.data.dataset import open_dataset
from worldtune.data.ledger import Ledger, Row, read_ledger
from worldtune.data.spec import DataSpec
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.latents.dataset import load_batch
from worldtune.latents.encode import encode_clips
from worldtune.latents.encode_processes import EncodeSettings, encode_in_processes
from worldtune.latents.store import LatentStore
from worldtune.models.load import open_world

PARTS = 56  # without given datasets; each given dataset adds more
BATCH = 8


@dataclass(frozen=True)
class Extent:
    """Rounds of a ratio; frames of a clip and of a long video; few and many clips to encode; rows of a ledger; faults
    of each kind to add to a dataset."""

    rounds: int
    frames: int
    long: int
    few: int
    many: int
    rows: int
    planted: int


FULL, QUICK = Extent(ROUNDS, 93, 1200, 100, 2000, 10_000, 40), Extent(1, 9, 40, 4, 12, 100, 2)


def measure(*, quick: bool, data: Sequence[Path] = (), on_part: Progress = silent) -> list[Figure]:
    """Return every figure; `quick` is a small version without goals.

    `data` are datasets of different demonstrations; by default, those of WORLDTUNE_TEST_DATA.
    """
    data = data or real_datasets()
    extent, figures = QUICK if quick else FULL, []
    for number, row in enumerate(_figures(extent, quick, data), 1):
        figures.append(row)
        on_part(min(number, PARTS + 4 * len(data)), PARTS + 4 * len(data))
    return figures


def _figures(extent: Extent, quick: bool, data: Sequence[Path]) -> Iterator[Figure]:
    def goal(value: float) -> float | None:
        return None if quick else value

    for name, ratio in decoding_ratios(extent.frames, extent.long, extent.rounds):
        yield figure(f"decode and resize {name}: load_video's time over ours", ratio.speedup, "×", "higher", goal(2))
    yield from copy_figures(data, quick=quick)
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_encode_in_subprocess(Path(folder), count) for count in (extent.few, extent.many))
        name = f"encode: peak memory of {extent.many} clips over {extent.few}"
        yield figure(name, many["peak"] / few["peak"], "×", "lower", goal(1.1))
        repeated = [_encode_in_subprocess(Path(folder), extent.many)["seconds"] for _ in range(1 if quick else 3)]
        yield figure(f"encode: {extent.many} clips that are already stored", median(repeated), "s", "lower", goal(2))
        yield figure("encode: two processes over one", process_speedup(Path(folder), extent), "×", "higher", goal(1.7))
        read, trained = reading_and_training(Path(folder), extent)
    yield figure("store: clips read in a second, one worker", read, "1/s", "higher", None)
    yield figure("store: clips read over clips that pocket trains on", read / trained, "×", "higher", goal(20))
    yield from curation_figures(extent.planted, data, quick=quick)
    yield from reader_figures()
    yield figure(f"ledger: {extent.rows} rows written and read", ledger_seconds(extent), "s", "lower", goal(2))


ENCODE = """
import json, resource, sys, time
from pathlib import Path
from benchmarks.data.data import write_dataset
from worldtune.data.dataset import open_dataset
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.models.load import open_world
folder, count = Path(sys.argv[1]), int(sys.argv[2])
world = open_world("pocket")
started = time.perf_counter()
encoded = encode_clips(world, open_dataset(write_dataset(folder, count)).train, LatentStore(folder / "store"))
seconds = time.perf_counter() - started
assert len(encoded) == count
print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def write_dataset(folder: Path, count: int) -> DataSpec:
    """Write the first `count` episodes of the videos into `folder`, unless they are there, and return their spec."""
    path = folder / f"films-{count}"
    if not path.exists():
        write_episodes(path, count)
        time.sleep(2.5)  # a file that has just changed is not cached
    return DataSpec(path=str(path), frames=17, fps=FPS, height=64, width=64)


def _encode_in_subprocess(folder: Path, count: int) -> dict[str, float]:
    """Return seconds from opening the dataset to the last latent, and the peak memory, of a separate process."""
    write_dataset(folder, count)
    return measure_in_subprocess(ENCODE, str(folder), str(count))


def process_speedup(folder: Path, extent: Extent) -> float:
    """Return clips per second of two processes over one, from the first clip done to the last, with one thread each."""
    world = open_world("pocket")
    clips = open_dataset(write_dataset(folder, extent.many)).train[: 40 * extent.few // 10]
    rounds = 1 if extent is QUICK else 3
    ratios = []
    for number in range(rounds):
        rates = {
            workers: _rate(world, LatentStore(folder / f"store-{number}-{workers}"), workers, clips)
            for workers in ((1, 2) if number % 2 else (2, 1))
        }
        ratios.append(rates[2] / rates[1])
    return median(ratios)


def _rate(world: Any, store: LatentStore, workers: int, clips: Sequence[Any]) -> float:
    """Return clips per second, without the first task of each process, which waits for its base to be read."""
    done: list[float] = []
    encoder = EncodeSettings(world.card.source, "cpu", world.dtype, store.folder.absolute(), 1)
    encode_in_processes(encoder, workers, clips, lambda *_: done.append(time.perf_counter()))
    warmup = len(done) // 4
    return (len(done) - warmup) / (done[-1] - done[warmup - 1])


def reading_and_training(folder: Path, extent: Extent) -> tuple[float, float]:
    """Return clips per second: read from the store in random batches by one thread, and trained on by pocket's LoRA."""
    world = open_world("pocket", dtype=torch.bfloat16)
    store = LatentStore(folder / "store-bf16")
    clips = encode_clips(world, open_dataset(write_dataset(folder, extent.many)).train[: extent.few], store)
    z_BCTHW, text_BND = load_batch(clips[:BATCH])
    step = our_step(world, AdapterSpec(rank=32), (z_BCTHW, text_BND), world.no_text())
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0)).tolist()

    def read() -> None:
        for first in range(0, len(order) - BATCH + 1, BATCH) or [0]:
            load_batch([clips[n] for n in order[first : first + BATCH]])

    read_clips = max(len(order) // BATCH * BATCH, 1)
    return read_clips / _median_seconds(read, extent.rounds), len(z_BCTHW) / _median_seconds(step, extent.rounds)


def _median_seconds(work: Callable[[], object], rounds: int) -> float:
    work()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def ledger_seconds(extent: Extent) -> float:
    """Return the seconds to write a ledger and read it again."""
    row = Row(
        "my/data", "000012", "observation.images.front", "lift the cup", "The robot lifts the cup.", 0, 93, 20, 16
    )
    ledger = Ledger(tuple(row for _ in range(extent.rows)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.parquet"

        def write_and_read() -> None:
            ledger.write(path)
            assert read_ledger(path) == ledger

        return _median_seconds(write_and_read, extent.rounds)
