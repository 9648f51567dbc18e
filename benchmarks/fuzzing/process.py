"""Trials of mutations in one process per reader; a process that hangs or crashes is ended and counted."""

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

from benchmarks.fuzzing.attempt import Raised, attempt
from benchmarks.fuzzing.reader import Reader, RefusedError, Trial, classify, mutate_sample

MEMORY = 4 << 30  # bytes, in addition to what the process has when it begins
DISK = 2 << 30  # bytes of one file
STEP = 0.5  # seconds between two checks of a process
STARTING = 300.0  # seconds to read the sound sample


def run_trials(reader: Reader, numbers: Sequence[int], place: Path, seconds: float) -> Iterator[Trial]:
    """Yield the result of each mutation; one that takes more than `seconds` of its process's CPU time is a hang.

    The sound sample is stored in `place`. Raise RuntimeError if the reader or its oracle does not accept that sample,
    or a mutation cannot be made.
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
    parent_end, child_end = fork.Pipe()
    process = fork.Process(target=_serve, args=(reader, place, child_end), daemon=True)
    process.start()
    child_end.close()
    fault = parent_end.recv() if parent_end.poll(STARTING) else "it takes too long"
    if fault:
        process.kill()
        raise RuntimeError(f"{reader.name}: the sound sample is not accepted: {fault}")
    return process, parent_end


def _ask(process: BaseProcess, connection: Connection, reader: Reader, number: int, seconds: float) -> Trial:
    mutation = ""
    try:
        connection.send(number)
        mutation = connection.recv()
        if not _answers(process, connection, seconds):
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


def _answers(process: BaseProcess, connection: Connection, seconds: float) -> bool:
    """Wait for an answer; return False after `seconds` of the process's CPU time or of idling.

    On a busy machine the same work takes more wall-clock time but no more CPU time.
    """
    child = psutil.Process(process.pid)
    start = last = _busy(child)
    idle = 0.0
    while not connection.poll(STEP):
        now = _busy(child)
        idle = 0.0 if now > last else idle + STEP
        if max(now - start, idle) > seconds:
            return False
        last = now
    return True


def _busy(process: psutil.Process) -> float:
    """Return the CPU seconds that the process has used; 0 after its end."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _serve(reader: Reader, place: Path, connection: Connection) -> None:
    """Judge the requested mutations one by one, inside the process."""
    _isolate(place)
    target = place / "tried"
    prepared = attempt(lambda: _prepare_sample(reader, place))
    if isinstance(prepared, Raised):
        connection.send(f"{type(prepared.error).__name__}: {prepared.error}")
        return
    sound, meaning = prepared
    connection.send("")
    _set_limits()
    while True:
        number = connection.recv()
        connection.send(mutate_sample(reader, sound, number, target))
        connection.send(classify(reader, target, meaning))


def _prepare_sample(reader: Reader, place: Path) -> tuple[Path, Any]:
    """Return the folder of the sound sample, made if missing, and its meaning, after comparing with the oracle."""
    sound, unfinished = place / "sound", place / "making"
    if not sound.exists():
        unfinished.mkdir()
        reader.make(unfinished)
        unfinished.rename(sound)
    meaning = reader.read(sound)
    if reader.expect is not None and not reader.agree(meaning, reader.expect(sound)):
        raise RefusedError(f"its oracle, {reader.oracle}, says something else")
    return sound, meaning


def _isolate(place: Path) -> None:
    """Detach input and output, and give this reader its own cache and temporary folder."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    tempfile.tempdir = str(place)


def _set_limits() -> None:
    memory = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, DISK))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
