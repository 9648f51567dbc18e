"""torch's .pt files by other code than torch's: the zip with its checksums, and a pickle of tensors read by NumPy."""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.bench.fuzzing.reader import RefusedError
from worldtune.bench.fuzzing.tensors import Tensors
from worldtune.files import digest_bytes

STORAGES = {"FloatStorage": "float32", "HalfStorage": "float16", "LongStorage": "int64", "DoubleStorage": "float64",
            "IntStorage": "int32", "ByteStorage": "uint8"}  # fmt: skip


@dataclass(frozen=True)
class _Storage:
    kind: str
    data: bytes


class _Unpickler(pickle.Unpickler):
    """Knows what a state dict of plain tensors is pickled from, and nothing else."""

    def __init__(self, text: bytes, read: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(text))
        self._read = read

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _array
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise RefusedError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        word, kind, key, _place, count = pid
        data = self._read(f"data/{key}")
        if word != "storage" or len(data) != count * np.dtype(kind).itemsize:
            raise RefusedError("a storage has another length than it says")
        return _Storage(kind, data)


def _array(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> np.ndarray:
    flat = np.frombuffer(storage.data, storage.kind)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else 0
    if min((offset, *size, *stride)) < 0 or last >= max(len(flat), 1):
        raise RefusedError("a tensor leads out of its storage")
    steps = tuple(step * flat.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(flat[offset:], size, steps)


def pt_of(path: Path) -> Tensors:
    """The tensors of a .pt file. Raises RefusedError for a wrong checksum and for a member that is there twice."""
    try:
        with zipfile.ZipFile(path) as opened:
            names = opened.namelist()
            (pickled,) = [name for name in names if name.endswith("data.pkl")]
            if len(set(names)) < len(names) or opened.testzip() is not None:
                raise RefusedError("a member is there twice, or its checksum is wrong")
            root = pickled.removesuffix("data.pkl")
            value = _Unpickler(opened.read(pickled), lambda name: opened.read(root + name)).load()
    except RefusedError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise RefusedError(f"it cannot be read: {error!r}") from error
    if isinstance(value, dict) and set(value) in ({"model"}, {"state_dict"}):
        (value,) = value.values()
    if not isinstance(value, dict):
        raise RefusedError("it is no mapping")
    arrays = {name: array for name, array in value.items() if isinstance(array, np.ndarray)}
    return {n: (a.dtype.name, a.shape, digest_bytes(np.ascontiguousarray(a).tobytes())) for n, a in arrays.items()}
