"""Read JSON and YAML that other people wrote.

Parsers disagree about some files, or a small one can stop or break whoever reads it. Such files are refused in one
line: a key given twice, NaN and infinity, numbers of very many digits, values nested very deep, text that is not
UTF-8, a NUL or a lone surrogate in a string, and YAML whose aliases stand for very many values. A UTF-8 byte order
mark is skipped.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from worldtune.core.strict_yaml import StrictLoader
from worldtune.core.values import DEEPEST, MOST_DIGITS, RefusedError, bad_character
from worldtune.errors import DataError, UserError, first_line

MIB = 1 << 20
LARGEST_JSON = 512 * MIB
LARGEST_YAML = 16 * MIB
MEND = "Correct the file."
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # JSON strings hold NUL and surrogates as these escapes only

Kind = type[UserError]


def parse_json(content: bytes | str, where: str, *, error: Kind = DataError, mend: str = MEND) -> Any:
    """Return the value of a JSON text. Raises `error` for what is not JSON or is refused (see above)."""
    try:
        return _json(_decoded(content))
    except json.JSONDecodeError as fault:
        raise error(f"not JSON: {fault}", where=where, mend=mend) from fault
    except RecursionError as fault:
        raise error(f"values are nested deeper than {DEEPEST}", where=where, mend=mend) from fault
    except ValueError as fault:
        raise error(first_line(fault), where=where, mend=mend) from fault


def parse_yaml(content: bytes | str, where: str, *, error: Kind = DataError, mend: str = MEND) -> Any:
    """Return the value of a YAML document, None if it is empty. Raises `error` as `parse_json` does."""
    try:
        return yaml.load(_decoded(content), StrictLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as fault:
        line = f", line {fault.problem_mark.line + 1}" if fault.problem_mark else ""
        raise error(f"not YAML: {fault.problem or fault.context}{line}", where=where, mend=mend) from fault
    except yaml.YAMLError as fault:
        raise error(f"not YAML: {first_line(fault)}", where=where, mend=mend) from fault
    except RecursionError as fault:
        raise error(f"values are nested deeper than {DEEPEST}", where=where, mend=mend) from fault
    except ValueError as fault:
        raise error(first_line(fault), where=where, mend=mend) from fault


def read_json(path: Path, *, error: Kind = DataError, mend: str = MEND, largest: int = LARGEST_JSON) -> Any:
    """Return the value of a JSON file. Raises `error` when it cannot be read, is too large or is refused."""
    return parse_json(read_bytes(path, largest, error, mend), str(path), error=error, mend=mend)


def read_json_lines(path: Path, *, error: Kind = DataError, mend: str = MEND) -> list[Any]:
    """Return the values of a file with one JSON value a line; skip empty lines. Raises `error` as `read_json`."""
    lines = read_bytes(path, LARGEST_JSON, error, mend).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [
        parse_json(line, f"{path}, line {number}", error=error, mend=mend)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def read_yaml(path: Path, *, error: Kind = DataError, mend: str = MEND, largest: int = LARGEST_YAML) -> Any:
    """Return the value of a YAML file, None if it is empty. Raises `error` as `read_json` does."""
    return parse_yaml(read_bytes(path, largest, error, mend), str(path), error=error, mend=mend)


def read_bytes(path: Path, largest: int, error: Kind, mend: str) -> bytes:
    """Return a whole file. Raises `error` when it is not a plain file, cannot be read or is too large."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):  # a pipe would wait for a writer
            os.close(descriptor)
            raise error("this is not a file", where=str(path), mend=mend)
        with open(descriptor, "rb") as file:
            content = file.read(min(state.st_size, largest) + 1)  # as much memory as is asked for is taken
    except OSError as fault:
        raise error(f"the file cannot be read: {fault.strerror}", where=str(path), mend=mend) from fault
    except ValueError as fault:  # a path with a NUL or half a letter
        raise error("this is not a path", where=repr(str(path)), mend=mend) from fault
    if state.st_size > largest:
        raise error(f"the file is larger than {largest // MIB} MiB", where=str(path), mend=mend)
    if len(content) != state.st_size:
        raise error("the file is being written, or is none on a disk", where=str(path), mend=mend)
    return content


def _decoded(content: bytes | str) -> str:
    """The text, without a byte order mark. Raises ValueError when it is not Unicode."""
    try:
        if isinstance(content, bytes):
            return content.decode("utf-8-sig")
        content.encode()
    except UnicodeError as fault:
        raise RefusedError("not UTF-8 text") from fault
    return content.removeprefix("\ufeff")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names: set[str] = set()
        twice = next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]
        raise RefusedError(f"the key {twice!r:.60} is given twice")
    return found


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise RefusedError(f"the number {text:.20} is too large")
    return number


def _int(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise RefusedError(f"a number has more than {MOST_DIGITS} digits")
    return int(text)


def _no_constant(name: str) -> None:
    raise RefusedError(f"{name} is not a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_float, parse_int=_int, parse_constant=_no_constant)


def _json(text: str) -> Any:
    value = _DECODER.decode(text)
    _check_depth(value)
    if _SUSPECT.search(text):
        for string in _strings(value):
            if fault := bad_character(string):
                raise RefusedError(f"a string holds {fault}: {string!r:.60}")
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth >= DEEPEST:
            raise RefusedError(f"values are nested deeper than {DEEPEST}")
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer if type(outer) is list else ())
            if type(inner) is dict or type(inner) is list
        ]


def _strings(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            waiting += [*found, *found.values()]
        elif isinstance(found, list):
            waiting += found
