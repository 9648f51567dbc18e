"""Read untrusted JSON and YAML strictly.

Files that parsers read differently, or that could stop or crash a reader, are errors: duplicate keys, NaN and infinity,
numbers with very many digits, very deep nesting, text that is not UTF-8, a NUL or a lone surrogate in a string, and
YAML whose aliases expand to very many values. A UTF-8 byte order mark is skipped.
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

from worldtune.core.git_lfs import POINTER_MESSAGE, PULL_HINT, is_pointer_content
from worldtune.core.strict_yaml import StrictLoader
from worldtune.core.value_limits import MAX_DEPTH, MAX_DIGITS, DisallowedValueError, find_bad_character
from worldtune.errors import DataError, UserError, first_line

MIB = 1 << 20
MAX_JSON_BYTES = 512 * MIB
MAX_YAML_BYTES = 16 * MIB
HINT = "Correct the file."
_SUSPECT_ESCAPE = re.compile(
    r"\\u(?:0000|[dD][89a-fA-F])"
)  # JSON strings hold NUL and surrogates as these escapes only

ErrorType = type[UserError]


def parse_json(content: bytes | str, where: str, *, error: ErrorType = DataError, hint: str = HINT) -> Any:
    """Return the value of a JSON text. Raise `error` if it is not JSON or breaks the rules above."""
    try:
        return _parse_strict(_decode(content))
    except json.JSONDecodeError as fault:
        raise error(f"not JSON: {fault}", where=where, hint=hint) from fault
    except RecursionError as fault:
        raise error(f"values are nested deeper than {MAX_DEPTH}", where=where, hint=hint) from fault
    except ValueError as fault:
        raise error(first_line(fault), where=where, hint=hint) from fault


def parse_yaml(content: bytes | str, where: str, *, error: ErrorType = DataError, hint: str = HINT) -> Any:
    """Return the value of a YAML document, None if it is empty. Raise `error` as `parse_json` does."""
    try:
        return yaml.load(_decode(content), StrictLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as fault:
        line = f", line {fault.problem_mark.line + 1}" if fault.problem_mark else ""
        raise error(f"not YAML: {fault.problem or fault.context}{line}", where=where, hint=hint) from fault
    except yaml.YAMLError as fault:
        raise error(f"not YAML: {first_line(fault)}", where=where, hint=hint) from fault
    except RecursionError as fault:
        raise error(f"values are nested deeper than {MAX_DEPTH}", where=where, hint=hint) from fault
    except ValueError as fault:
        raise error(first_line(fault), where=where, hint=hint) from fault


def read_json(path: Path, *, error: ErrorType = DataError, hint: str = HINT, largest: int = MAX_JSON_BYTES) -> Any:
    """Return the value of a JSON file. Raise `error` if it cannot be read, is too large or breaks the rules."""
    return parse_json(read_bytes(path, largest, error, hint), str(path), error=error, hint=hint)


def read_json_object(path: Path, *, error: ErrorType = DataError, hint: str = HINT) -> dict[str, Any]:
    """Return the mapping in a JSON file. Raise `error` as `read_json` does, and for any other value."""
    return json_object(read_json(path, error=error, hint=hint), str(path), error=error, hint=hint)


def json_object(value: Any, where: str, *, error: ErrorType = DataError, hint: str = HINT) -> dict[str, Any]:
    """Return `value`. Raise `error` if it is not a mapping."""
    if not isinstance(value, dict):
        raise error("not a JSON object", where=where, hint=hint)
    return value


def read_json_lines(path: Path, *, error: ErrorType = DataError, hint: str = HINT) -> list[Any]:
    """Return the values of a JSON Lines file without empty lines. Raise `error` as `read_json` does."""
    lines = read_bytes(path, MAX_JSON_BYTES, error, hint).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [
        parse_json(line, f"{path}, line {number}", error=error, hint=hint)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def read_yaml(path: Path, *, error: ErrorType = DataError, hint: str = HINT, largest: int = MAX_YAML_BYTES) -> Any:
    """Return the value of a YAML file, None if it is empty. Raise `error` as `read_json` does."""
    return parse_yaml(read_bytes(path, largest, error, hint), str(path), error=error, hint=hint)


def read_bytes(path: Path, largest: int, error: ErrorType, hint: str, *, grows: bool = False) -> bytes:
    """Return a file's bytes. Raise `error` if it is not a plain file, cannot be read, is too large or a pointer.

    If it `grows`, another process may append to it meanwhile: return what it held at first.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):  # a pipe would wait for a writer
            os.close(descriptor)
            raise error("this is not a file", where=str(path), hint=hint)
        with open(descriptor, "rb") as file:
            content = file.read(min(state.st_size, largest) + 1)  # read() allocates the requested size
    except OSError as fault:
        raise error(f"the file cannot be read: {fault.strerror}", where=str(path), hint=hint) from fault
    except ValueError as fault:  # a path with a NUL or a lone surrogate
        raise error("this is not a path", where=repr(str(path)), hint=hint) from fault
    if state.st_size > largest:
        raise error(f"the file is larger than {largest // MIB} MiB", where=str(path), hint=hint)
    if grows:
        content = content[: state.st_size]
    if len(content) != state.st_size:
        raise error("the file is being written, or is not on a disk", where=str(path), hint=hint)
    if is_pointer_content(content):
        raise error(POINTER_MESSAGE, where=str(path), hint=PULL_HINT)
    return content


def _decode(content: bytes | str) -> str:
    """Return the text without a byte order mark. Raise ValueError if it is not Unicode."""
    try:
        if isinstance(content, bytes):
            return content.decode("utf-8-sig")
        content.encode()
    except UnicodeError as fault:
        raise DisallowedValueError("not UTF-8 text") from fault
    return content.removeprefix("\ufeff")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names: set[str] = set()
        duplicate = next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]
        raise DisallowedValueError(f"the key {duplicate!r:.60} is given twice")
    return found


def _parse_float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise DisallowedValueError(f"the number {text:.20} is too large")
    return number


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise DisallowedValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _reject_constant(name: str) -> None:
    raise DisallowedValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=_parse_float, parse_int=_parse_int, parse_constant=_reject_constant
)


def _parse_strict(text: str) -> Any:
    value = _DECODER.decode(text)
    _check_depth(value)
    if _SUSPECT_ESCAPE.search(text):
        for string in _strings(value):
            if fault := find_bad_character(string):
                raise DisallowedValueError(f"a string holds {fault}: {string!r:.60}")
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth >= MAX_DEPTH:
            raise DisallowedValueError(f"values are nested deeper than {MAX_DEPTH}")
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer if type(outer) is list else ())
            if type(inner) is dict or type(inner) is list
        ]


def _strings(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            pending += [*found, *found.values()]
        elif isinstance(found, list):
            pending += found
