"""The index of torch's distributed checkpoints (DCP), `.metadata`: which tensors there are, and where their parts lie.

It is a pickle, which torch would unpickle with any name it holds. Here it is read as data, and must make sense: the
parts of a tensor tile it, and each lies in a file of its own folder.
Source: torch `distributed/checkpoint/metadata.py` and `filesystem.py`, `_StorageInfo`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any

import torch

from worldtune.core.inert_pickle import DamagedError, Name, Node, read_inert
from worldtune.core.torch_pickle import is_dtype

_NAMES = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata", "BytesStorageMetadata",
        "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"},
    "pathlib": {"PosixPath", "WindowsPath", "PurePosixPath", "Path"},
    "collections": {"OrderedDict"},
    "builtins": {"getattr"},  # how Python 3.11.2 names a member of an enumeration
}  # fmt: skip
_WHOLE = re.compile(r"bool|bfloat16|float(16|32|64|8_\w+)|u?int(8|16|32|64)|complex(64|128)")  # others are packed
MOST_DIMENSIONS = 64  # as torch has it
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A box of a tensor, and the bytes of a file that hold it; without a `file` when the box is empty."""

    offsets: Sizes
    sizes: Sizes
    file: str = ""
    start: int = 0
    length: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint: the parts that are not empty tile it."""

    shape: Sizes
    dtype: torch.dtype
    parts: tuple[Part, ...]


def read_index(content: bytes) -> dict[str, StoredTensor | None]:
    """Every entry of an index by its name; None for one that is no tensor.

    Raises DamagedError when it is damaged, names anything but an index's own classes, or makes no sense.
    """
    try:
        index = _fields(read_inert(BytesIO(content), _admits), "Metadata")
        places = _places(index["storage_data"])
        return {name: _entry(name, entry, places) for name, entry in _texts(index["state_dict_metadata"]).items()}
    except (KeyError, TypeError) as error:
        raise DamagedError(f"the index is damaged ({type(error).__name__})") from error


def _admits(name: Name) -> bool:
    return name.name in _NAMES.get(name.module, ()) or is_dtype(name) or _is_layout(name)


def _is_layout(name: Name) -> bool:
    kinds = torch.layout | torch.memory_format
    return name.module == "torch" and isinstance(vars(torch).get(name.name), kinds)


def _fields(value: Any, kind: str) -> dict[str, Any]:
    """The attributes of a thing of the index's. Raises TypeError for any other thing."""
    if not isinstance(value, Node) or value.made_by is None or value.made_by.name != kind:
        raise TypeError
    return _texts(value.state)


def _texts(value: Any) -> dict[str, Any]:
    """A dictionary by texts. Raises TypeError for any other thing, and when a text is there twice."""
    if not isinstance(value, Node) or (value.made_by is not None and value.made_by.name != "OrderedDict"):
        raise TypeError
    found = {name: entry for name, entry in value.pairs if isinstance(name, str)}
    if len(found) != len(value.pairs):
        raise TypeError
    return found


def _sizes(value: Any) -> Sizes:
    """Numbers of a torch.Size. Raises TypeError for any other thing."""
    if not isinstance(value, Node) or str(value.made_by) != "torch.Size" or not isinstance(value.args, tuple):
        raise TypeError
    (sizes,) = value.args if len(value.args) == 1 else ((),)
    if not isinstance(sizes, list | tuple) or len(sizes) > MOST_DIMENSIONS:
        raise TypeError
    return tuple(_count(size) for size in sizes)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise TypeError
    return value


def _places(value: Any) -> dict[tuple[str, Sizes], tuple[str, int, int]]:
    """File, first byte and length of every part, by its tensor's name and its place in it."""
    if not isinstance(value, Node):
        raise TypeError
    found: dict[tuple[str, Sizes], tuple[str, int, int]] = {}
    for key, entry in value.pairs:
        what, place = _fields(key, "MetadataIndex"), _fields(entry, "_StorageInfo")
        name, file, offset = what["fqn"], place["relative_path"], what.get("offset")
        if not isinstance(name, str) or not isinstance(file, str):
            raise TypeError
        if file in ("", "..") or Path(file).name != file or "\0" in file:
            raise DamagedError(f"the index leads out of its folder, to {file[:100]!r}")
        if place.get("transform_descriptors"):
            raise DamagedError(f"{name[:100]!r} is packed")
        if offset is not None and (name, _sizes(offset)) in found:
            raise TypeError
        if offset is not None:
            found[name, _sizes(offset)] = file, _count(place["offset"]), _count(place["length"])
    return found


def _entry(name: str, value: Any, places: dict[tuple[str, Sizes], tuple[str, int, int]]) -> StoredTensor | None:
    if isinstance(value, Node) and value.made_by is not None and value.made_by.name == "BytesStorageMetadata":
        return None
    fields = _fields(value, "TensorStorageMetadata")
    shape, dtype = _sizes(fields["size"]), _dtype(fields["properties"])
    boxes = [_fields(chunk, "ChunkStorageMetadata") for chunk in _listed(fields["chunks"])]
    parts = [Part(_sizes(box["offsets"]), _sizes(box["sizes"])) for box in boxes]
    parts = sorted((part for part in parts if prod(part.sizes)), key=lambda part: part.offsets)
    if prod(shape) and not _tile(parts, shape, 0):
        raise DamagedError(f"the parts of {name[:100]!r} overlap, or some are missing")
    return StoredTensor(shape, dtype, tuple(Part(p.offsets, p.sizes, *places[name, p.offsets]) for p in parts))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _dtype(value: Any) -> torch.dtype:
    if not isinstance(value, Node) or value.made_by is None or value.made_by.name != "TensorProperties":
        raise TypeError
    named = value.state[0] if isinstance(value.state, tuple) and value.state else None
    if not isinstance(named, Name) or not is_dtype(named):
        raise TypeError
    if not _WHOLE.fullmatch(named.name):
        raise DamagedError(f"a tensor is of the kind {named.name}")
    found: torch.dtype = vars(torch)[named.name]
    return found


def _tile(parts: Sequence[Part], shape: Sizes, axis: int) -> bool:
    """Do the parts fill a tensor without overlap, cut along this axis into slabs, and each slab along the next ones?"""
    if any(len(part.sizes) != len(shape) or len(part.offsets) != len(shape) for part in parts):
        return False
    if axis == len(shape):
        return len(parts) == 1
    end = 0
    ordered = sorted(parts, key=lambda part: (part.offsets[axis], part.sizes[axis]))
    for (start, size), slab in groupby(ordered, key=lambda part: (part.offsets[axis], part.sizes[axis])):
        if start != end or not _tile(list(slab), shape, axis + 1):
            return False
        end = start + size
    return end == shape[axis]
