"""Mutations of the content of JSON and YAML: values of other types, repeated keys, invalid numbers, extreme depth."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

_RAW, _DUPLICATE = "@raw@", "@twice@"
REGEX_BOMB = "((\\w|\\.)*)*!"
WRONG_VALUES: tuple[Any, ...] = (
    None, True, False, [], {}, [[0]], {"a": {"b": []}}, 0, 1, -1, 2, 0.5, -0.0, 1e308, 1e-320, 2**31, 2**53 + 1, 2**63,
    2**64, "", " ", "x", "\x00", "\ud800", "\x1b]0;owned\x07", "a\nb", "../../x", "/etc/passwd", "{0.__class__}",
    "{nope}", REGEX_BOMB, "(", "nan", "1e999", "12", "é" * 300, "x" * 100_000, "\u202e",
    {REGEX_BOMB: 1}, {"(": 1}, [None] * 1000,
)  # fmt: skip
JSON_TOKENS = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "1" * 5000, "0" * 20 + "1", "1.", "'x'",
    "undefined",
    "[" * 200 + "]" * 200, "[" * 5000 + "]" * 5000, "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, '"\\ud800"',
    '"\\u0000"', '"\x01"', "/* */ 1", "1e-999", "",
)  # fmt: skip
_MERGED = (
    "{m0: &m0 {k: 1}, " + ", ".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 9)) + "}"
)
_LAUGHS = "[&l0 [x, x], " + ", ".join(f"&l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)) + "]"
YAML_TOKENS = (
    ".nan", ".inf", "-.inf", "1e999", "1" + "0" * 400, "1_000", "0o17", "017", "0x1F", "1:30", "yes", "off", "~",
    "2024-01-01",
    "2024-13-45", "!!binary aGk=", "!!python/object/apply:os.getcwd []", "!!set {a, b}", "!!timestamp x", "&a [*a]",
    "&a {b: *a}",
    "*nothing", _MERGED, _LAUGHS, "[" * 200 + "]" * 200, "[" * 3000 + "]" * 3000, "{? [a, b] : c}", "{<<: {k: 1}}",
    '"\\ud800"',
    '"\\0"', "!x 1", "'", "@x", "\t1", "=", "<<",
)  # fmt: skip


def mutate_json(file: Path, draw: Random) -> str:
    """Change something in a JSON file."""
    how, text = change_json(file.read_text(encoding="utf-8"), draw)
    file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return how


def mutate_jsonl(file: Path, draw: Random) -> str:
    """Change something in a file of JSON lines."""
    lines = file.read_text(encoding="utf-8").splitlines()
    at = draw.randrange(len(lines))
    what = draw.choice(["changed", "changed", "changed", "twice", "gone", "empty", "joined"])
    if what == "changed":
        what, lines[at] = change_json(lines[at], draw)
    elif what == "twice":
        lines.insert(draw.randrange(len(lines) + 1), lines[at])
    elif what == "gone":
        del lines[at]
    elif what == "empty":
        lines.insert(at, draw.choice(["", "  ", "null", "[]", "1"]))
    else:
        lines[at : at + 2] = ["".join(lines[at : at + 2])]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    return f"line {at}: {what}"


def mutate_yaml(file: Path, draw: Random) -> str:
    """Change something in a YAML file, and write it in YAML's flow style, which includes JSON."""
    value = yaml.safe_load(file.read_text(encoding="utf-8"))
    how, text = _change(value, (*JSON_TOKENS, *YAML_TOKENS), draw)
    if draw.random() < 0.1:
        extra = draw.choice(["\n---\n{}\n", "\n...\nx", "%YAML 9.9\n---\n", "\n\tx: 1\n"])
        how, text = f"{how}, and {extra!r}", text + extra if draw.random() < 0.7 else extra + text
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return how


def change_json(text: str, draw: Random) -> tuple[str, str]:
    """Return how the text was changed, and the changed text, which may be invalid JSON."""
    return _change(json.loads(text), JSON_TOKENS, draw)


def _change(value: Any, tokens: Sequence[str], draw: Random) -> tuple[str, str]:
    places = list(_value_paths(value))
    if not places or draw.random() < 0.03:
        token = draw.choice(tokens)
        return f"all replaced by {token:.40}", token
    *parents, key = draw.choice(places)
    parent = value
    for step in parents:
        parent = parent[step]
    where = "/".join(map(str, [*parents, key]))
    what = draw.choice(
        ["removed", "wrong", "wrong", "raw", "raw", "nudged", "nudged", "moved", "twice", "renamed", "surplus"]
    )
    if what in ("twice", "renamed", "surplus") and not isinstance(parent, dict):
        what = "wrong"
    token = draw.choice(tokens)
    if what == "removed":
        del parent[key]
    elif what == "wrong":
        parent[key] = draw.choice(WRONG_VALUES)
        what = f"made {parent[key]!r:.40}"
    elif what == "raw":
        parent[key] = _RAW
        what = f"made {token:.40}"
    elif what == "nudged":
        parent[key] = _nudge(parent[key], draw)
        what = f"nudged to {parent[key]!r:.40}"
    elif what == "moved":
        parent[key] = _value_at(value, draw.choice(places))
        what = f"made {parent[key]!r:.40}"
    else:
        _change_key(parent, key, what, draw)
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5)
    return f"{where} {what}", text.replace(f'"{_RAW}"', token).replace(f'"{_DUPLICATE}"', json.dumps(key))


def _change_key(parent: dict[Any, Any], key: Any, what: str, draw: Random) -> None:
    """Repeat the key with another value, rename it, or add an unknown key."""
    items = list(parent.items())
    if what == "renamed":
        items = [(f"{name}s" if name == key else name, value) for name, value in items]
    else:
        name = _DUPLICATE if what == "twice" else draw.choice(["surplus", "__class__", "", "\x00", "\ud800"])
        items.insert(draw.choice([0, len(items)]), (name, draw.choice([_nudge(parent[key], draw), *WRONG_VALUES[:12]])))
    parent.clear()
    parent.update(items)


def _nudge(value: Any, draw: Random) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return draw.choice([value + 1, value - 1, -value, value * 2, value / 2, float(value)])
    if isinstance(value, str) and value:
        at = draw.randrange(len(value))
        return value[:at] + draw.choice(["", "0", "a", "Z", "_", " ", "é"]) + value[at + 1 :]
    if isinstance(value, list) and value:
        return draw.choice([value[:-1], value + value[:1], value[::-1]])
    return draw.choice(WRONG_VALUES)


def _value_at(value: Any, place: Sequence[Any]) -> Any:
    """Return a copy of the value at that path."""
    for step in place:
        value = value[step]
    return json.loads(json.dumps(value, default=str))


def _value_paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield (*at, key)
        yield from _value_paths(child, (*at, key))
