"""torch's files and checkpoints by other code than torch's: zips with their checksums, pickles read by NumPy."""

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

from worldtune.bench.fuzzing.attempt import Raised, attempt
from worldtune.bench.fuzzing.reader import RefusedError
from worldtune.bench.fuzzing.tensors import Tensors
from worldtune.files import digest_bytes

STORAGES = {
    "FloatStorage": "float32", "HalfStorage": "float16", "LongStorage": "int64", "DoubleStorage": "float64",
    "IntStorage": "int32", "ByteStorage": "uint8",
}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C
ENTRY = re.compile(rb"PK\x03\x04.{22}[^/]{1,80}/data\.pkl", re.DOTALL)
"""Where an entry of a checkpoint's data file begins, each a zip of its own."""


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
    """Knows what a state dict of plain tensors is pickled from, and nothing else."""

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
            raise RefusedError("it refers to something that is no storage")
        return _Storage(key, kind, count)


def pt_of(path: Path) -> Tensors:
    """The tensors of a .pt file. Raises RefusedError for a wrong checksum and for a member that is there twice."""
    return _understood(lambda: _named(_zipped(path.read_bytes())))


def old_pt_of(path: Path) -> Tensors:
    """The tensors of a .pt file as torch wrote it before 1.6: pickles one after the other, without checksums."""
    return _understood(lambda: _named(_piled(path.read_bytes())))


def entries_of(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Every tensor of a distributed checkpoint's data file. Raises RefusedError as `pt_of` does."""
    data = path.read_bytes()
    starts = [match.start() for match in ENTRY.finditer(data)]
    parts = [data[begin:end] for begin, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    return _understood(lambda: [entry for part in parts for entry in _named({"": _zipped(part)}).values()])


def _understood(act: Callable[[], Any]) -> Any:
    """A damaged pickle raises anything."""
    found = attempt(act)
    if isinstance(found, Raised):
        raise RefusedError(f"it cannot be read: {found.error!r}") from found.error
    return found


Read = tuple[Any, Callable[[_Storage], bytes]]


def _zipped(data: bytes) -> Read:
    """What is pickled in the zip, and how to find a storage's bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        names = opened.namelist()
        if len(set(names)) < len(names) or opened.testzip() is not None:
            raise RefusedError("a member is there twice, or its checksum is wrong")
        (pickled,) = [name for name in names if name.endswith("data.pkl")]
        members = {name.removeprefix(pickled.removesuffix("data.pkl")): opened.read(name) for name in names}
    return _Unpickler(io.BytesIO(members["data.pkl"])).load(), lambda storage: members[f"data/{storage.key}"]


def _piled(data: bytes) -> Read:
    file = io.BytesIO(data)
    magic, _protocol, _system, value, keys = (_Unpickler(file).load() for _ in range(5))
    if magic != MAGIC:
        raise RefusedError("it is no file of torch's")
    kinds = {tensor.storage.key: tensor.storage.kind for tensor in _tensors(value)}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = file.read(count * np.dtype(kinds[key]).itemsize)
    return value, lambda storage: storages[storage.key]


def _tensors(value: Any) -> Iterator[_Tensor]:
    yield from (entry for entry in value.values() if isinstance(entry, _Tensor))


def _named(read: Any) -> Tensors:
    """The tensors by name; names of what is none are left out."""
    if isinstance(read, dict):
        return {name: _described(*its) for name, its in read.items()}
    value, bytes_of = read
    if isinstance(value, dict) and set(value) in ({"model"}, {"state_dict"}):
        (value,) = value.values()
    return {name: _described(entry, bytes_of) for name, entry in value.items() if isinstance(entry, _Tensor)}


def _described(tensor: _Tensor, bytes_of: Callable[[_Storage], bytes]) -> tuple[str, tuple[int, ...], str]:
    array = _array(tensor, bytes_of(tensor.storage))
    return array.dtype.name, array.shape, digest_bytes(np.ascontiguousarray(array).tobytes())


def _array(tensor: _Tensor, data: bytes) -> np.ndarray:
    flat = np.frombuffer(data, tensor.storage.kind)
    if len(flat) != tensor.storage.count:
        raise RefusedError("a storage has another length than it says")
    steps = [(n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True)]
    last = tensor.offset + sum(steps) if all(tensor.size) else 0
    if min((tensor.offset, *tensor.size, *tensor.stride)) < 0 or last >= max(len(flat), 1):
        raise RefusedError("a tensor leads out of its storage")
    strides = tuple(step * flat.itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.size, strides)
