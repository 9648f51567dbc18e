"""Mutations are read in a process of its own for each reader, which may hang or crash: it is ended and counted."""

import multiprocessing
import os
import resource
import signal
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from worldtune.bench.fuzzing.attempt import Raised, attempt
from worldtune.bench.fuzzing.reader import Reader, RefusedError, Trial, damage, judge

MEMORY = 4 << 30  # bytes, beyond what the process has when it begins
DISK = 2 << 30  # bytes of one file
STARTING = 300.0  # seconds for the sound sample


def trials(reader: Reader, numbers: Sequence[int], place: Path, seconds: float) -> Iterator[Trial]:
    """What becomes of each mutation; one that takes longer than `seconds` is a hang.

    The sound sample lies in `place`. Raises RuntimeError when the reader or its oracle does not accept that sample, and
    when a mutation cannot be made.
    """
    waiting = deque(numbers)
    while waiting:
        process, connection = _start(reader, place)
        try:
            while waiting and process.is_alive():
                number = waiting.popleft()
                trial = _ask(process, connection, reader, number, seconds)
                yield trial
                if trial.outcome in ("hang", "crash"):
                    break
        finally:
            process.kill()
            process.join()
            connection.close()


def _start(reader: Reader, place: Path) -> tuple[BaseProcess, Connection]:
    fork = multiprocessing.get_context("fork")
    ours, its = fork.Pipe()
    process = fork.Process(target=_work, args=(reader, place, its), daemon=True)
    process.start()
    its.close()
    fault = ours.recv() if ours.poll(STARTING) else "it takes too long"
    if fault:
        process.kill()
        raise RuntimeError(f"{reader.name}: the sound sample is not accepted: {fault}")
    return process, ours


def _ask(process: BaseProcess, connection: Connection, reader: Reader, number: int, seconds: float) -> Trial:
    mutation = ""
    try:
        connection.send(number)
        mutation = connection.recv()
        if not connection.poll(seconds):
            return Trial(reader.name, number, mutation, "hang", f"longer than {seconds:g} s")
        outcome, what = connection.recv()
        return Trial(reader.name, number, mutation, outcome, what)
    except (EOFError, ConnectionError) as error:
        process.join()
        if not mutation:
            raise RuntimeError(f"{reader.name}: mutation {number} cannot be made") from error
        code = process.exitcode or 0
        what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Trial(reader.name, number, mutation, "crash", what)


def _work(reader: Reader, place: Path, connection: Connection) -> None:
    """In the process: judge the mutations that are asked for, one by one."""
    _shut_off(place)
    target = place / "tried"
    begun = attempt(lambda: _begin(reader, place))
    if isinstance(begun, Raised):
        connection.send(f"{type(begun.error).__name__}: {begun.error}")
        return
    sound, meaning = begun
    connection.send("")
    _limit()
    while True:
        number = connection.recv()
        connection.send(damage(reader, sound, number, target))
        connection.send(judge(reader, target, meaning))


def _begin(reader: Reader, place: Path) -> tuple[Path, Any]:
    """The folder of the sound sample, made where it is not there yet, and its meaning, on which the oracle agrees."""
    sound, unfinished = place / "sound", place / "making"
    if not sound.exists():
        unfinished.mkdir()
        reader.make(unfinished)
        unfinished.rename(sound)
    meaning = reader.read(sound)
    if reader.expect is not None and not reader.agree(meaning, reader.expect(sound)):
        raise RefusedError(f"its oracle, {reader.oracle}, says something else")
    return sound, meaning


def _shut_off(place: Path) -> None:
    """Nothing is asked of the user, libraries' warnings go nowhere, and what is remembered is this reader's own."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    tempfile.tempdir = str(place)


def _limit() -> None:
    memory = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, DISK))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
