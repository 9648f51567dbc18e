"""A reader under test, and the verdict on what it makes of one mutated file."""

import errno
import operator
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from benchmarks.fuzzing.attempt import Raised, attempt
from benchmarks.fuzzing.mutations import mutate
from worldtune.errors import UserError, first_line

Outcome = Literal["refused", "same", "other", "silent", "traceback", "hang", "crash"]
FAULTS: dict[Outcome, str] = {
    "silent": "silent other values",
    "traceback": "tracebacks",
    "hang": "hangs",
    "crash": "crashes",
}
DISK_FULL = (errno.EFBIG, errno.ENOSPC)


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "nothing is there": lambda path: None,
    "a folder is there": Path.mkdir,
    "a pipe is there": os.mkfifo,
    "a link to nothing is there": lambda path: path.symlink_to("nowhere"),
    "a link to itself is there": lambda path: path.symlink_to(path.name),
}


class RefusedError(Exception):
    """An error for what an oracle does not accept."""


@dataclass(frozen=True)
class Reader:
    """A reader to test: `make` writes a sound sample into an empty folder; `read` returns its meaning as the verbs do.

    An accepted file must mean what `expect` makes of it by other code, or what the sound sample means if `expect`
    is None or raises. `oracle` names the other code in a line. `files` are glob patterns of the files to mutate.
    `rewrite` is an additional mutation: it changes the folder and returns what it did.
    """

    name: str
    oracle: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    expect: Callable[[Path], Any] | None = None
    files: tuple[str, ...] = ("**/*",)
    agree: Callable[[Any, Any], bool] = operator.eq
    rewrite: Callable[[Path, Random], str] | None = None


@dataclass(frozen=True)
class Trial:
    """The result of one mutation; `what` is the refusal, or the first line of the error."""

    reader: str
    number: int
    mutation: str
    outcome: Outcome
    what: str = ""


def mutate_sample(reader: Reader, sound: Path, number: int, target: Path) -> str:
    """Copy the sound sample to `target`, apply the mutation of that number, and return what it is."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(sound, target, symlinks=True)
    draw = Random(f"{reader.name} {number}")
    if reader.rewrite is not None and draw.random() < 0.15:
        return reader.rewrite(target, draw)
    files = sorted({path for pattern in reader.files for path in target.glob(pattern) if path.is_file()})
    suffix = draw.choice(sorted({path.suffix for path in files}))  # there may be many videos, and one info.json
    file = draw.choice([path for path in files if path.suffix == suffix])
    if draw.random() < 0.03:
        file.unlink()
        what = draw.choice([*REPLACEMENTS])
        REPLACEMENTS[what](file)
        return f"{file.relative_to(target)}: {what}"
    return f"{file.relative_to(target)}: {mutate(file, draw)}"


def classify(reader: Reader, folder: Path, sound: Any) -> tuple[Outcome, str]:
    """Read a mutated sample and return the outcome with details."""
    found = attempt(lambda: reader.read(folder))
    if isinstance(found, Raised):
        return _classify_error(found.error)
    expect, is_same = reader.expect, bool(reader.agree(found, sound))
    if expect is None:
        return ("same", "") if is_same else ("silent", f"not what was written: {_first_difference(found, sound)}")
    expected = attempt(lambda: expect(folder))
    if isinstance(expected, Raised):
        return ("same", "") if is_same else ("silent", f"accepted, but {first_line(expected.error)}")
    if not reader.agree(found, expected):
        return "silent", f"not what the file says: {_first_difference(found, expected)}"
    return ("same" if is_same else "other"), ""


def _classify_error(error: BaseException) -> tuple[Outcome, str]:
    """Return the outcome of an error; the command line shows system errors in one line, but a full disk is a fault."""
    if isinstance(error, UserError):
        return "refused", str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return "hang", f"it writes without end: {error.strerror}"
    if isinstance(error, OSError) and error.strerror is not None:
        return "refused", str(error)
    trace = error.__traceback__
    places = []
    while trace is not None:
        if "worldtune" in trace.tb_frame.f_code.co_filename:
            places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return "traceback", f"{type(error).__name__} at {places[-1] if places else '?'}: {first_line(error)[:160]}"


def _first_difference(found: Any, expected: Any) -> str:
    """Return the first place where two meanings differ."""
    return next(_differences(found, expected, ""), "in an unknown place")


def _differences(found: Any, expected: Any, at: str) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in [key for key in found if key in expected]:
            yield from _differences(found[key], expected[key], f"{at}/{key}")
        yield from (f"{at} lacks {key}" for key in expected if key not in found)
        yield from (f"{at} has {key}" for key in found if key not in expected and key != "loss_reported")
    elif isinstance(found, list | tuple) and isinstance(expected, list | tuple) and len(found) == len(expected):
        for place, (first, second) in enumerate(zip(found, expected, strict=True)):
            yield from _differences(first, second, f"{at}/{place}")
    elif repr(found) != repr(expected):
        yield f"{at} is {repr(found)[:60]}, not {repr(expected)[:60]}"
