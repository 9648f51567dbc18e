"""Mutations of the content of Parquet and HDF5 files: a column, a value, a group, a link."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TYPES = (
    pa.string(), pa.int8(), pa.uint64(), pa.float64(), pa.bool_(), pa.list_(pa.int64()), pa.null(), pa.binary(),
    pa.struct([("a", pa.int64())]), pa.timestamp("ns"), pa.dictionary(pa.int8(), pa.string()),
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    -1,
    0,
    1,
    10**6,
    2**53 + 1,
    float("nan"),
    float("inf"),
    "x",
    "../../x",
    "\x00",
    "{nope}",
    b"\xff",
)
ENV_ARGS = (7, "{", "[]", b"\xff", "null", "[" * 5000, '{"env_kwargs": 3}', '{"env_kwargs": {"control_freq": NaN}}',
            '{"env_kwargs": {"control_freq": 1e999}}', '{"env_kwargs": {"control_freq": 8}}')  # fmt: skip


def mutate_parquet(file: Path, draw: Random) -> str:
    """Change a column, or a value in it."""
    table = pq.read_table(file)
    name, row = draw.choice(table.column_names), draw.randrange(len(table))
    at, column = table.column_names.index(name), table.column(name)
    what = draw.choice(["gone", "renamed", "twice", "type", "type", "value", "value", "value", "none", "rows", "order"])
    if what == "gone":
        table = table.drop_columns(name)
    elif what == "renamed":
        table = table.rename_columns(
            [f"{column_name}_" if column_name == name else column_name for column_name in table.column_names]
        )
    elif what == "twice":
        table = table.append_column(name, column)
    elif what == "rows":
        table = table.slice(0, row)
    elif what == "order":
        table = table.take(pa.array(draw.sample(range(len(table)), len(table))))
    elif what == "type":
        kind = draw.choice(TYPES)
        table, what = table.set_column(at, name, _cast(column, kind)), f"type {kind}"
    else:
        value = None if what == "none" else draw.choice(VALUES)
        table, what = table.set_column(at, name, _set_value(column, row, value)), f"row {row} made {value!r:.30}"
    pq.write_table(table, file)
    return f"{name} {what}"


def _cast(column: Any, kind: Any) -> Any:
    try:
        return column.cast(kind)
    except pa.ArrowException:
        return pa.nulls(len(column), kind)


def _set_value(column: Any, row: int, value: Any) -> Any:
    """Return the column with that value in a row, in its own type if possible; else with that value everywhere."""
    values = column.to_pylist()
    values[row] = [value] * len(values[row]) if isinstance(values[row], list) else value
    try:
        return pa.array(values, column.type)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError):
        return pa.array([value] * len(values))


def mutate_hdf5(file: Path, draw: Random) -> str:
    """Change a group, a dataset, a link or an attribute."""
    import h5py

    with h5py.File(file, "r+") as hdf5:
        names: list[str] = []
        hdf5.visit(names.append)
        name, what = draw.choice(names), draw.choice([*HDF5_MUTATIONS])
        found = hdf5[name]
        values = np.asarray(found) if isinstance(found, h5py.Dataset) else np.zeros(3)
        if what == "attribute":
            hdf5.get("data", hdf5).attrs["env_args"] = draw.choice(ENV_ARGS)
            return what
        del hdf5[name]
        if what == "link":
            hdf5[name] = draw.choice(
                [h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink("/etc/passwd", "/")]
            )
        elif what == "group":
            hdf5.create_group(name)
        elif what == "endless":
            hdf5.create_dataset(name, shape=(10**7, *values.shape[1:]), dtype=values.dtype, chunks=True)
        elif what != "gone":
            hdf5[name] = HDF5_MUTATIONS[what](values, draw)
    return f"{name} {what}"


def _nudge(values: np.ndarray, draw: Random) -> np.ndarray:
    changed = values.copy()
    changed.flat[draw.randrange(max(changed.size, 1))] = draw.choice([0, 1, 77])
    return changed


HDF5_MUTATIONS: dict[str, Any] = {
    "gone": None,
    "link": None,
    "group": None,
    "endless": None,
    "attribute": None,
    "text": lambda values, draw: "See the other file.",
    "short": lambda values, draw: values[:-1],
    "long": lambda values, draw: np.concatenate([values, values]),
    "type": lambda values, draw: values.astype(draw.choice(["f8", "i2", "S1", "u1", "bool", "c8"])),
    "flat": lambda values, draw: values.ravel(),
    "empty": lambda values, draw: values[:0],
    "nudged": _nudge,
    "not a number": lambda values, draw: np.full_like(values, np.nan) if values.dtype.kind == "f" else values[::-1],
}
