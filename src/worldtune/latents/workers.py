"""Clips encoded by several processes of this machine, each with the base of its own; what they share is the store.

Signals are the parent's to hear. It ends its workers by SIGTERM, and they leave nothing half-written and say nothing.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import Event
from types import FrameType

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
        threads = max(1, (os.cpu_count() or 1) // workers)
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
    others = set(active_children())
    with _unheard_by_children():
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start, initargs=(encoder,))
    with pool:
        try:
            with _unheard_by_children():
                futures: list[Future[list[str]]] = [pool.submit(_encode, task) for task in tasks_of(clips)]
            for future in as_completed(futures):
                for name in future.result():
                    on_clip(name)
        except BrokenProcessPool as error:
            what = "a worker was killed: perhaps the memory does not do for so many"
            mend = "Run it again, with fewer workers: what is encoded already is kept."
            raise UserError(what, where="encode", mend=mend) from error
        except KeyboardInterrupt:
            for worker in set(active_children()) - others:
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _unheard_by_children() -> Iterator[None]:
    """Within, processes are started that Ctrl-C and a closed terminal do not reach; here both are heard afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_opened: list[tuple[World, LatentStore]] = []  # of a worker's process
_busy = Event()  # likewise


def _start(encoder: Encoder) -> None:
    signal.signal(signal.SIGTERM, _stop)
    _opened.append(encoder.open())


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is half-written is being removed
    if not _busy.is_set():
        os._exit(128 + number)
    raise KeyboardInterrupt


def _encode(clips: list[Clip]) -> list[str]:
    ((world, store),) = _opened
    names: list[str] = []
    try:
        _busy.set()
        store.refresh()
        encode_frames(world, clips, store, names.append)
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)  # the parent wants no answer
    finally:
        _busy.clear()
    return names
