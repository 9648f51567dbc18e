"""What code other than the readers makes of a file: strict JSON and YAML.

Every function raises RefusedError for what it does not accept.
"""

import json
import math
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fuzzing.reader import RefusedError


def parse_json_file(path: Path) -> Any:
    """Return a JSON file's value: UTF-8, no repeated key, all numbers finite."""
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """Return the value of a JSON text."""

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is not a number")

    try:
        return _finite(json.loads(text, object_pairs_hook=_unique, parse_constant=refuse))
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"it is not strict JSON: {error}") from error


def parse_json_lines(path: Path) -> list[Any]:
    """Return the values of a file of JSON lines, without an unfinished last line."""
    return [parse_json(line) for line in read_text(path).split("\n")[:-1]]


def parse_yaml_file(path: Path) -> Any:
    """Return a YAML file's value: YAML 1.1, no repeated key, no merge keys, all numbers finite."""
    try:
        return _finite(yaml.load(read_text(path), _Loader))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise RefusedError(f"it is not strict YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """A loader that refuses repeated keys, merge keys and aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        pairs = [(self.construct_object(key, deep=True), None) for key, _ in node.value]
        _unique([(json.dumps(key, default=str), None) for key, _ in pairs])
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError("it has a merge key")
        return super().construct_mapping(node, deep=deep)


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key exists twice")
    return found


def _finite(value: Any) -> Any:
    """Return the value. Raise ValueError for a number that is not finite, or a text that is not Unicode."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it holds {value}")
    if isinstance(value, str):
        value.encode()
    for nested in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(nested)
    return value


def read_text(path: Path) -> str:
    """Return the text of a file. Raise RefusedError if it is not UTF-8 or not a file: reading a pipe would block."""
    if not path.is_file():
        raise RefusedError("it is not a file")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise RefusedError(f"it is not UTF-8 text: {error}") from error


def matches(found: Any, expected: Any, defaults: Any) -> bool:
    """Return whether a settings object has what a file states, and the defaults for everything else.

    A whole number may be written as 8 or 8.0, a number as the text that YAML 1.1 makes of 1e-3; a boolean must be true
    or false.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        defaults = defaults if isinstance(defaults, dict) else {}
        return set(expected) <= set(found) and all(
            matches(value, expected[key], defaults.get(key))
            if key in expected
            else key not in defaults or value == defaults[key]
            for key, value in found.items()
        )
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(
            matches(first, second, None) for first, second in zip(found, expected, strict=True)
        )
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, int | float) and isinstance(expected, str):
        return _number(expected) == found
    return (type(found) is type(expected) and found == expected) or (
        _both_numbers(found, expected) and found == expected
    )


def _both_numbers(first: Any, second: Any) -> bool:
    return isinstance(first, int | float) and isinstance(second, int | float)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
