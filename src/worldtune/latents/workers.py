"""Clips encoded by several processes of this machine, each with the base of its own; what they share is the store."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path

import torch

from worldtune.episodes.clip import Clip, by_footage
from worldtune.errors import UserError
from worldtune.latents.encode import Progress, encode_frames
from worldtune.latents.store import LatentStore
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World

TASK = 16  # clips that a worker is given at once, unless one recording has more


@dataclass(frozen=True)
class Encoder:
    """What a worker needs to know to encode as its parent would."""

    base: str
    device: str
    dtype: torch.dtype
    store: Path
    threads: int

    @classmethod
    def like(cls, world: World, store: LatentStore, workers: int) -> "Encoder":
        threads = max(1, (cpu_count() or 1) // workers)
        return cls(world.card.source, str(world.device), world.dtype, store.folder.absolute(), threads)

    def open(self) -> tuple[World, LatentStore]:
        torch.set_num_threads(self.threads)
        return open_world(self.base, self.device, self.dtype), LatentStore(self.store)


def tasks_of(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """The clips in tasks, those of one recording together, so that it is decoded once."""
    task: list[Clip] = []
    for group in by_footage(clips).values():
        if task and len(task) + len(group) > TASK:
            yield task
            task = []
        task += group
    if task:
        yield task


def encode_in_processes(encoder: Encoder, workers: int, clips: Sequence[Clip], on_clip: Progress) -> None:
    """The latents of clips into the store, by `workers` processes.

    Raises what `encode_frames` raises, UserError when a worker is killed; what was encoded until then is kept.
    """
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start, initargs=(encoder,))
    with pool:
        futures: list[Future[list[str]]] = [pool.submit(_encode, task) for task in tasks_of(clips)]
        try:
            for future in as_completed(futures):
                for name in future.result():
                    on_clip(name)
        except BrokenProcessPool as error:
            what = "a worker was killed: perhaps the memory does not do for so many"
            mend = "Run it again, with fewer workers: what is encoded already is kept."
            raise UserError(what, where="encode", mend=mend) from error
        finally:
            pool.shutdown(cancel_futures=True)


_opened: list[tuple[World, LatentStore]] = []  # of a worker's process


def _start(encoder: Encoder) -> None:
    _opened.append(encoder.open())


def _encode(clips: list[Clip]) -> list[str]:
    ((world, store),) = _opened
    store.refresh()
    names: list[str] = []
    encode_frames(world, clips, store, names.append)
    return names
