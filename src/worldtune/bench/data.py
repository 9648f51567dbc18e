"""From files to batches: decoding, encoding, the store and the ledger, measured.

Each figure of encoding is of processes of its own: memory that was once taken is not given back.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.alone import measured_alone
from worldtune.bench.decoding import decoding_ratios
from worldtune.bench.footage import FPS, write_episodes
from worldtune.bench.ratio import ROUNDS
from worldtune.bench.training_steps import our_step
from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.ledger import Ledger, Row, read_ledger
from worldtune.episodes.spec import DataSpec
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.latents.dataset import load_batch
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.latents.workers import Encoder, encode_in_processes
from worldtune.worlds.load import open_world

PARTS = 10
BATCH = 8


@dataclass(frozen=True)
class Extent:
    """Rounds of a ratio; frames of a clip and of a long film; clips encoded, few and many; rows of a ledger."""

    rounds: int
    frames: int
    long: int
    few: int
    many: int
    rows: int


FULL, QUICK = Extent(ROUNDS, 93, 1200, 100, 2000, 10_000), Extent(1, 9, 40, 4, 12, 100)


def measure(*, quick: bool, on_part: Callable[[int, int], None] = lambda done, total: None) -> list[Figure]:
    """Every figure; `quick` is a small version without goals."""
    extent, figures = QUICK if quick else FULL, []
    for number, one in enumerate(_figures(extent, quick), 1):
        figures.append(one)
        on_part(number, PARTS)
    return figures


def _figures(extent: Extent, quick: bool) -> Iterator[Figure]:
    def goal(value: float) -> float | None:
        return None if quick else value

    for name, ratio in decoding_ratios(extent.frames, extent.long, extent.rounds):
        yield figure(f"decode and resize {name}: load_video's time over ours", ratio.speedup, "×", "higher", goal(2))
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_encoded(Path(folder), count) for count in (extent.few, extent.many))
        name = f"encode: peak memory of {extent.many} clips over {extent.few}"
        yield figure(name, many["peak"] / few["peak"], "×", "lower", goal(1.1))
        again = [_encoded(Path(folder), extent.many)["seconds"] for _ in range(1 if quick else 3)]
        yield figure(f"encode: {extent.many} clips that are there already", median(again), "s", "lower", goal(2))
        yield figure("encode: two processes over one", workers_ratio(Path(folder), extent), "×", "higher", goal(1.7))
        read, trained = reading_and_training(Path(folder), extent)
    yield figure("store: clips read in a second, one worker", read, "1/s", "higher", None)
    yield figure("store: clips read over clips that pocket trains on", read / trained, "×", "higher", goal(20))
    yield figure(f"ledger: {extent.rows} rows written and read", ledger_seconds(extent), "s", "lower", goal(2))


ENCODE = """
import json, resource, sys, time
from pathlib import Path
from worldtune.bench.data import dataset_of
from worldtune.episodes.dataset import open_dataset
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.worlds.load import open_world
folder, count = Path(sys.argv[1]), int(sys.argv[2])
world = open_world("pocket")
started = time.perf_counter()
encoded = encode_clips(world, open_dataset(dataset_of(folder, count)).train, LatentStore(folder / "store"))
seconds = time.perf_counter() - started
assert len(encoded) == count
print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def dataset_of(folder: Path, count: int) -> DataSpec:
    """The first `count` episodes of the films in `folder`, which are written if they are not there."""
    path = folder / f"films-{count}"
    if not path.exists():
        write_episodes(path, count)
        time.sleep(2.5)  # a file that has just changed is not remembered
    return DataSpec(path=str(path), frames=17, fps=FPS, height=64, width=64)


def _encoded(folder: Path, count: int) -> dict[str, float]:
    """Seconds from opening the dataset to the last latent, and the peak of memory, of a process of its own."""
    dataset_of(folder, count)
    return measured_alone(ENCODE, str(folder), str(count))


def workers_ratio(folder: Path, extent: Extent) -> float:
    """Clips a second of two processes over one, from the first clip done to the last, each with one thread."""
    world = open_world("pocket")
    clips = open_dataset(dataset_of(folder, extent.many)).train[: 40 * extent.few // 10]
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
    """Clips a second, not counting the first task of each process, which waits for its base to be read."""
    done: list[float] = []
    encoder = Encoder(world.card.source, "cpu", world.dtype, store.folder.absolute(), 1)
    encode_in_processes(encoder, workers, clips, lambda name: done.append(time.perf_counter()))
    begun = len(done) // 4
    return (len(done) - begun) / (done[-1] - done[begun - 1])


def reading_and_training(folder: Path, extent: Extent) -> tuple[float, float]:
    """Clips a second: read from the store in random batches by one thread, and trained on by pocket's LoRA step."""
    world = open_world("pocket", dtype=torch.bfloat16)
    store = LatentStore(folder / "store-bf16")
    clips = encode_clips(world, open_dataset(dataset_of(folder, extent.many)).train[: extent.few], store)
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
    """Written and read again."""
    row = Row(
        "my/data", "000012", "observation.images.front", "lift the cup", "The robot lifts the cup.", 0, 93, 20, 16
    )
    ledger = Ledger(tuple(row for _ in range(extent.rows)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.parquet"

        def there_and_back() -> None:
            ledger.write(path)
            assert read_ledger(path) == ledger

        return _median_seconds(there_and_back, extent.rounds)
