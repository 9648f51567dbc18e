"""What other code than the readers' makes of a file: strict JSON and YAML.

Every one raises RefusedError for what it does not accept.
"""

import json
import math
from pathlib import Path
from typing import Any

import yaml

from worldtune.bench.fuzzing.reader import RefusedError


def json_of(path: Path) -> Any:
    """A JSON file's value: UTF-8, no key twice, all numbers finite."""
    return json_in(_text(path))


def json_in(text: str) -> Any:
    """The value of a JSON text."""

    def refused(word: str) -> Any:
        raise ValueError(f"{word} is no number")

    try:
        return _finite(json.loads(text, object_pairs_hook=_unique, parse_constant=refused))
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"it is no strict JSON: {error}") from error


def json_lines_of(path: Path) -> list[Any]:
    """The values of a file of JSON lines; a last line without an end is left out."""
    return [json_in(line) for line in _text(path).split("\n")[:-1]]


def yaml_of(path: Path) -> Any:
    """A YAML file's value: as YAML 1.1 has it, no key twice, no merge keys, all numbers finite."""
    try:
        return _finite(yaml.load(_text(path), _Loader))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise RefusedError(f"it is no strict YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key twice, merge keys, and what refers to what came before it."""

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
        raise ValueError("a key is there twice")
    return found


def _finite(value: Any) -> Any:
    """The value. Raises ValueError for numbers that are none, and texts that are no Unicode."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it holds {value}")
    if isinstance(value, str):
        value.encode()
    for inside in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(inside)
    return value


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise RefusedError(f"it is no UTF-8 text: {error}") from error


def says(found: Any, stated: Any, usual: Any) -> bool:
    """Does a settings object have what a file states, and what is usual where it states nothing?

    A whole number may be written as 8 or 8.0, a number as the text that YAML 1.1 makes of 1e-3; a truth value is
    true or false and nothing else.
    """
    if isinstance(found, dict) and isinstance(stated, dict):
        usual = usual if isinstance(usual, dict) else {}
        return set(stated) <= set(found) and all(
            says(value, stated[key], usual.get(key)) if key in stated else key not in usual or value == usual[key]
            for key, value in found.items()
        )
    if isinstance(found, list | tuple) and isinstance(stated, list | tuple):
        return len(found) == len(stated) and all(
            says(one, other, None) for one, other in zip(found, stated, strict=True)
        )
    if isinstance(found, bool) or isinstance(stated, bool):
        return found is stated
    if isinstance(found, int | float) and isinstance(stated, str):
        return _number(stated) == found
    return (type(found) is type(stated) and found == stated) or (_both_numbers(found, stated) and found == stated)


def _both_numbers(one: Any, other: Any) -> bool:
    return isinstance(one, int | float) and isinstance(other, int | float)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
