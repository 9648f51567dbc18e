"""Encode clips in several processes of this machine; each opens the base, and all share the store.

Only the parent receives Ctrl-C and hang-ups. It ends its workers with SIGTERM; they leave no half-written files and
print nothing.
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

from worldtune.core.progress import Progress, silent
from worldtune.data.clip import Clip, group_by_footage
from worldtune.errors import UserError
from worldtune.latents.encode import encode_frames
from worldtune.latents.store import LatentStore
from worldtune.models.load import open_world
from worldtune.models.world import World

CLIPS_PER_TASK = 16  # clips in a task, unless one recording has more


@dataclass(frozen=True)
class EncodeSettings:
    """The settings with which a worker encodes exactly as its parent."""

    base: str
    device: str
    dtype: torch.dtype
    store: Path
    threads: int

    @classmethod
    def from_world(cls, world: World, store: LatentStore, workers: int) -> "EncodeSettings":
        threads = max(1, (os.cpu_count() or 1) // workers)
        return cls(world.card.source, str(world.device), world.dtype, store.folder.absolute(), threads)

    def open(self) -> tuple[World, LatentStore]:
        torch.set_num_threads(self.threads)
        return open_world(self.base, self.device, self.dtype), LatentStore(self.store)


def group_into_tasks(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Yield the clips in tasks. The clips of a recording are in one task, so that it is decoded once."""
    task: list[Clip] = []
    for group in group_by_footage(clips).values():
        if task and len(task) + len(group) > CLIPS_PER_TASK:
            yield task
            task = []
        task += group
    if task:
        yield task


def encode_in_processes(
    encoder: EncodeSettings, workers: int, clips: Sequence[Clip], progress: Progress = silent
) -> None:
    """Encode clips into the store with `workers` processes.

    Raise as `encode_frames` does, and UserError if a worker is killed; clips that were encoded before stay stored.
    """
    other_children = set(active_children())
    with _signals_blocked_in_children():
        pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(encoder,)
        )
    with pool:
        try:
            with _signals_blocked_in_children():
                futures: list[Future[list[str]]] = [pool.submit(_encode_task, task) for task in group_into_tasks(clips)]
            names = (name for future in as_completed(futures) for name in future.result())
            for done, name in enumerate(names, start=1):
                progress(done, len(clips), name)
        except BrokenProcessPool as error:
            what = "a worker was killed, probably because it ran out of memory"
            hint = "Run it again with fewer workers: encoded clips are kept."
            raise UserError(what, where="encode", hint=hint) from error
        except KeyboardInterrupt:
            for worker in set(active_children()) - other_children:
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _signals_blocked_in_children() -> Iterator[None]:
    """Block SIGINT and SIGHUP for processes that are started inside the block; this process gets them afterwards."""
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)


_worker_state: list[tuple[World, LatentStore]] = []  # set in a worker's process
_busy, _stopping = Event(), Event()  # set while a worker encodes; when it is asked to end


def _start_worker(encoder: EncodeSettings) -> None:
    signal.signal(signal.SIGTERM, _stop_worker)
    _worker_state.append(encoder.open())


def _stop_worker(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # ignore further signals during the cleanup
    _stopping.set()
    if not _busy.is_set():
        os._exit(128 + number)
    raise KeyboardInterrupt


def _encode_task(clips: list[Clip]) -> list[str]:
    try:
        return _encode(clips)
    finally:
        # Whatever became of the exception: a worker that waited for its next task would never end.
        if _stopping.is_set():
            os._exit(128 + signal.SIGTERM)


def _encode(clips: list[Clip]) -> list[str]:
    ((world, store),) = _worker_state
    try:
        _busy.set()
        store.refresh()
        encode_frames(world, clips, store, _raise_if_stopping)
    finally:
        _busy.clear()
    return [clip.name for clip in clips]


def _raise_if_stopping(done: int, total: int, note: str = "") -> None:
    """Raise the exception again that Python drops where a signal arrives in a destructor or an import's callback."""
    if _stopping.is_set():
        raise KeyboardInterrupt
