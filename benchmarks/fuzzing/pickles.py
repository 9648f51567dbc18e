"""torch's files and checkpoints, read without torch: zips with checksums, pickles by NumPy."""

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing.attempt import Raised, attempt
from benchmarks.fuzzing.reader import RefusedError
from benchmarks.fuzzing.tensors import Tensors
from worldtune.core.files import digest_bytes

STORAGES = {
    "FloatStorage": "float32", "HalfStorage": "float16", "LongStorage": "int64", "DoubleStorage": "float64",
    "IntStorage": "int32", "ByteStorage": "uint8",
}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C
ENTRY = re.compile(rb"PK\x03\x04.{22}[^/]{1,80}/data\.pkl", re.DOTALL)
"""The beginning of an entry in a checkpoint's data file; each entry is a zip."""


@dataclass(frozen=True)
class _Storage:
    key: str
    kind: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows only what a state dict of plain tensors is pickled from."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *rest: _Tensor(storage, offset, size, stride)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise RefusedError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        word, kind, key, _place, count, *_view = pid
        if word != "storage":
            raise RefusedError("it refers to something that is not a storage")
        return _Storage(key, kind, count)


def parse_pt(path: Path) -> Tensors:
    """Return the tensors of a .pt file. Raise RefusedError for a wrong checksum or a repeated member."""
    return _parse_or_refuse(lambda: _summarize_by_name(_read_zip(path.read_bytes())))


def parse_old_pt(path: Path) -> Tensors:
    """Return the tensors of a .pt file written before torch 1.6: pickles one after the other, without checksums."""
    return _parse_or_refuse(lambda: _summarize_by_name(_read_legacy(path.read_bytes())))


def parse_checkpoint_entries(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Return every tensor of a distributed checkpoint's data file. Raise RefusedError as `parse_pt` does."""
    data = path.read_bytes()
    starts = [match.start() for match in ENTRY.finditer(data)]
    parts = [data[begin:end] for begin, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    return _parse_or_refuse(
        lambda: [entry for part in parts for entry in _summarize_by_name({"": _read_zip(part)}).values()]
    )


def _parse_or_refuse(act: Callable[[], Any]) -> Any:
    """Return the result of `act`. Raise RefusedError for any error, because a damaged pickle may raise anything."""
    found = attempt(act)
    if isinstance(found, Raised):
        raise RefusedError(f"it cannot be read: {found.error!r}") from found.error
    return found


Read = tuple[Any, Callable[[_Storage], bytes]]


def _read_zip(data: bytes) -> Read:
    """Return the object pickled in the zip, and a function that finds a storage's bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        names = opened.namelist()
        if len(set(names)) < len(names) or opened.testzip() is not None:
            raise RefusedError("a member exists twice, or its checksum is wrong")
        (pickled,) = [name for name in names if name.endswith("data.pkl")]
        members = {name.removeprefix(pickled.removesuffix("data.pkl")): opened.read(name) for name in names}
    return _Unpickler(io.BytesIO(members["data.pkl"])).load(), lambda storage: members[f"data/{storage.key}"]


def _read_legacy(data: bytes) -> Read:
    file = io.BytesIO(data)
    magic, _protocol, _system, value, keys = (_Unpickler(file).load() for _ in range(5))
    if magic != MAGIC:
        raise RefusedError("it is not a file of torch's")
    kinds = {tensor.storage.key: tensor.storage.kind for tensor in _tensors(value)}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = file.read(count * np.dtype(kinds[key]).itemsize)
    return value, lambda storage: storages[storage.key]


def _tensors(value: Any) -> Iterator[_Tensor]:
    yield from (entry for entry in value.values() if isinstance(entry, _Tensor))


def _summarize_by_name(read: Any) -> Tensors:
    """Return the tensors by name; other values are ignored."""
    if isinstance(read, dict):
        return {name: _summarize(*its) for name, its in read.items()}
    value, bytes_of = read
    if isinstance(value, dict) and set(value) in ({"model"}, {"state_dict"}):
        (value,) = value.values()
    return {name: _summarize(entry, bytes_of) for name, entry in value.items() if isinstance(entry, _Tensor)}


def _summarize(tensor: _Tensor, bytes_of: Callable[[_Storage], bytes]) -> tuple[str, tuple[int, ...], str]:
    array = _array(tensor, bytes_of(tensor.storage))
    return array.dtype.name, array.shape, digest_bytes(np.ascontiguousarray(array).tobytes())


def _array(tensor: _Tensor, data: bytes) -> np.ndarray:
    flat = np.frombuffer(data, tensor.storage.kind)
    if len(flat) != tensor.storage.count:
        raise RefusedError("a storage has another length than stated")
    steps = [(n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True)]
    last = tensor.offset + sum(steps) if all(tensor.size) else 0
    if min((tensor.offset, *tensor.size, *tensor.stride)) < 0 or last >= max(len(flat), 1):
        raise RefusedError("a tensor exceeds its storage")
    strides = tuple(step * flat.itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.size, strides)
