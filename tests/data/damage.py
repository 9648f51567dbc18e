"""Random damage to one thing in a dataset: the bytes of a file, or a value, column or key in it."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = ["", " ", "x", "\x00", "\x1b[31m", "\ud800", "../../{}", "/etc/passwd", "{nope}", "{", "{0}", "é" * 300]
TEXTS += ["{episode_index.real}", "{episode_index:9999999999}"]
NUMBERS = [0, 1, -1, 2, 7, 0.5, 10**30, float("nan"), float("inf")]
WRONG: list[Any] = [None, [], {}, [[0]], {"a": {"b": []}}, True, *NUMBERS, *TEXTS]
STRUCT = pa.struct([("a", pa.int64())])
TYPES = [pa.string(), pa.int8(), pa.uint64(), pa.float64(), pa.bool_(), pa.list_(pa.int64()), pa.null(), STRUCT]


@dataclass(frozen=True)
class Damage:
    """A description of the damage, and the damaged files."""

    what: str
    files: tuple[Path, ...]


def damage(root: Path, chance: Random) -> Damage:
    """Damage one thing in the dataset at `root`, which may be a file."""
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    suffix = chance.choice(sorted({path.suffix for path in files}))  # there are many videos, and one info.json
    file = chance.choice([path for path in files if path.suffix == suffix])
    if file.suffix in INSIDE and chance.random() < 0.7:
        done, files = INSIDE[file.suffix](file, chance), [file]
    else:
        done, files = _bytes(file, files, chance)
    return Damage(f"{done} of {' and '.join(path.name for path in files)}", tuple(files))


def _bytes(file: Path, files: list[Path], chance: Random) -> tuple[str, list[Path]]:
    data, other = bytearray(file.read_bytes()), chance.choice(files)
    begin = chance.randrange(len(data))
    end = min(len(data), begin + chance.choice([1, 4, 64, 512]))
    what = chance.choice(["end", "zeros", "flip", "twice", "delete", "empty", "text", "latin", "swap", "out", "more"])
    if what == "delete":
        file.unlink()
        return what, [file]
    if what == "swap":
        mine, its = file.read_bytes(), other.read_bytes()
        file.write_bytes(its)
        other.write_bytes(mine)
        return what, [file, other]
    part = bytes(data[begin:end])
    new: dict[str, bytes] = {
        "zeros": bytes(data[:begin]) + bytes(len(part)) + bytes(data[end:]),
        "flip": bytes(data[:begin]) + bytes(byte ^ 1 << chance.randrange(8) for byte in part) + bytes(data[end:]),
        "twice": bytes(data[:end]) + part + bytes(data[end:]),
        "out": bytes(data[:begin]) + bytes(data[end:]),
        "end": bytes(data[:begin]),
        "empty": b"",
        "text": b"See the other folder.\n",
        "latin": b"caf\xe9 \xff\xfe" + bytes(data),
        "more": bytes(data) + part,
    }
    file.write_bytes(new[what])
    return f"{what} ({begin} to {end})", [file]


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to each nested value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*at, key)
        yield from _places(each, (*at, key))


def _value(value: Any, chance: Random) -> str:
    """Change or remove one nested value."""
    *way, key = chance.choice(list(_places(value)))
    for step in way:
        value = value[step]
    done = f"{'/'.join(map(str, [*way, key]))} "
    if chance.random() < 0.2:
        del value[key]
        return f"{done}taken out"
    value[key] = chance.choice(WRONG)
    return f"{done}made {value[key]!r:.40}"


def _json(file: Path, chance: Random) -> str:
    value = json.loads(file.read_text())
    done = _value(value, chance)
    file.write_text(json.dumps(value))
    return done


def _jsonl(file: Path, chance: Random) -> str:
    values = [json.loads(line) for line in file.read_text().splitlines()]
    done = _value(values, chance)
    file.write_text("\n".join(map(json.dumps, values)))
    return done


def _csv(file: Path, chance: Random) -> str:
    with file.open(newline="") as text:
        values = list(csv.reader(text))
    done = _value(values, chance)
    rows = [row if isinstance(row, list) else [row] for row in values]
    with file.open("w", newline="", encoding="utf-8", errors="surrogatepass") as text:
        csv.writer(text).writerows(rows)
    return done


def _parquet(file: Path, chance: Random) -> str:
    table = pq.read_table(file)
    name, row = chance.choice(table.column_names), chance.randrange(len(table))
    at, column = table.column_names.index(name), table.column(name)
    what = chance.choice(["drop", "rename", "two", "type", "type", "null", "nulls", "rows", "value"])
    if what == "drop":
        table = table.drop_columns(name)
    elif what == "rename":
        table = table.rename_columns([f"{each}_" if each == name else each for each in table.column_names])
    elif what == "rows":
        table = table.slice(0, row)
    elif what == "two":
        table = table.append_column(name, column)
    elif what == "type":
        kind = chance.choice(TYPES)
        table, what = table.set_column(at, name, _as(column, kind)), f"type {kind}"
    else:
        wrong = chance.choice([-1, 10**6, 0, 1]) if what == "value" else None
        table, what = table.set_column(at, name, _with(column, row, what == "nulls", wrong)), f"{what} {row}: {wrong}"
    pq.write_table(table, file)
    return f"{name}: {what}"


def _as(column: Any, kind: Any) -> Any:
    if pa.types.is_nested(kind):
        return pa.array([{"a": 1} if kind == STRUCT else [1, 2]] * len(column), kind)
    if pa.types.is_string(kind):
        return pa.array(list(map(str, column.to_pylist())), kind)
    return pa.nulls(len(column), kind) if pa.types.is_null(kind) else pa.array([1] * len(column)).cast(kind)


def _with(column: Any, row: int, every: bool, wrong: int | None) -> Any:
    """Return the column with the value in one row or all. A column that is not numeric gets it in all rows."""
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    every = every or not (is_number or wrong is None)
    return pa.array([wrong if every or number == row else value for number, value in enumerate(column.to_pylist())])


def _hdf5(file: Path, chance: Random) -> str:
    with h5py.File(file, "r+") as opened:
        names: list[str] = []
        opened.visit(names.append)
        name, what = chance.choice(names), chance.choice(["del", "text", "short", "type", "link", "group", "attribute"])
        found = opened[name]
        if what == "attribute":
            opened["data"].attrs["env_args"] = chance.choice([7, "{", "[]", b"\xff", "null", '{"env_kwargs": 3}'])
            return "attribute"
        short = np.asarray(found[:-1]) if isinstance(found, h5py.Dataset) else np.zeros(3)
        del opened[name]
        if what == "text":
            opened[name] = "See the other file."
        elif what == "short":
            opened[name] = short
        elif what == "type":
            opened[name] = short.astype(chance.choice(["f8", "i2", "S1"]))
        elif what == "link":
            opened[name] = chance.choice([h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/passwd", "/")])
        elif what == "group":
            opened.create_group(name)
    return f"{name}: {what}"


INSIDE: dict[str, Callable[[Path, Random], str]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
    ".hdf5": _hdf5,
}
