"""Parse `.metadata`, the index of torch's distributed checkpoints (DCP): the tensors, and the places of their parts.

The index is a pickle, and torch would unpickle any name in it. Here it is parsed as data and checked: the parts of a
tensor must tile it, and be in files of the index's folder.
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

from worldtune.core.tensors.pickle_parser import DamagedFileError, Name, Node, parse_pickle
from worldtune.core.tensors.torch_pickle import is_dtype

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
_UNPACKED_DTYPES = re.compile(
    r"bool|bfloat16|float(16|32|64|8_\w+)|u?int(8|16|32|64)|complex(64|128)"
)  # other types are packed
MAX_DIMENSIONS = 64  # as torch has it
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A box of a tensor, and the bytes of a file that hold it; an empty box has no `file`."""

    offsets: Sizes
    sizes: Sizes
    file: str = ""
    start: int = 0
    length: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint; its non-empty parts tile it."""

    shape: Sizes
    dtype: torch.dtype
    parts: tuple[Part, ...]


def read_index(content: bytes) -> dict[str, StoredTensor | None]:
    """Return the entries of an index by name; None for an entry that is not a tensor.

    Raise DamagedFileError if the index is damaged, names other classes than those of an index, or is inconsistent.
    """
    try:
        index = _attributes(parse_pickle(BytesIO(content), _is_allowed), "Metadata")
        locations = _locations(index["storage_data"])
        return {
            name: _entry(name, entry, locations) for name, entry in _string_keys(index["state_dict_metadata"]).items()
        }
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"the index is damaged ({type(error).__name__})") from error


def _is_allowed(name: Name) -> bool:
    return name.name in _NAMES.get(name.module, ()) or is_dtype(name) or _is_layout(name)


def _is_layout(name: Name) -> bool:
    kinds = torch.layout | torch.memory_format
    return name.module == "torch" and isinstance(vars(torch).get(name.name), kinds)


def _attributes(value: Any, kind: str) -> dict[str, Any]:
    """Return the attributes of an object of the class `kind`. Raise TypeError for any other object."""
    if not isinstance(value, Node) or value.constructor is None or value.constructor.name != kind:
        raise TypeError
    return _string_keys(value.state)


def _string_keys(value: Any) -> dict[str, Any]:
    """Return a dictionary with text keys. Raise TypeError for any other object, and for duplicate keys."""
    if not isinstance(value, Node) or (value.constructor is not None and value.constructor.name != "OrderedDict"):
        raise TypeError
    found = {name: entry for name, entry in value.pairs if isinstance(name, str)}
    if len(found) != len(value.pairs):
        raise TypeError
    return found


def _sizes(value: Any) -> Sizes:
    """Return the numbers of a torch.Size. Raise TypeError for any other object."""
    if not isinstance(value, Node) or str(value.constructor) != "torch.Size" or not isinstance(value.args, tuple):
        raise TypeError
    (sizes,) = value.args if len(value.args) == 1 else ((),)
    if not isinstance(sizes, list | tuple) or len(sizes) > MAX_DIMENSIONS:
        raise TypeError
    return tuple(_non_negative_int(size) for size in sizes)


def _non_negative_int(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise TypeError
    return value


def _locations(value: Any) -> dict[tuple[str, Sizes], tuple[str, int, int]]:
    """Return the file, first byte and length of every part, by its tensor's name and its offsets in the tensor."""
    if not isinstance(value, Node):
        raise TypeError
    found: dict[tuple[str, Sizes], tuple[str, int, int]] = {}
    for key, entry in value.pairs:
        key_fields, entry_fields = _attributes(key, "MetadataIndex"), _attributes(entry, "_StorageInfo")
        name, file, offset = key_fields["fqn"], entry_fields["relative_path"], key_fields.get("offset")
        if not isinstance(name, str) or not isinstance(file, str):
            raise TypeError
        if file in ("", "..") or Path(file).name != file or "\0" in file:
            raise DamagedFileError(f"the index names a file outside its folder: {file[:100]!r}")
        if entry_fields.get("transform_descriptors"):
            raise DamagedFileError(f"{name[:100]!r} is packed")
        if offset is not None and (name, _sizes(offset)) in found:
            raise TypeError
        if offset is not None:
            found[name, _sizes(offset)] = (
                file,
                _non_negative_int(entry_fields["offset"]),
                _non_negative_int(entry_fields["length"]),
            )
    return found


def _entry(name: str, value: Any, locations: dict[tuple[str, Sizes], tuple[str, int, int]]) -> StoredTensor | None:
    if isinstance(value, Node) and value.constructor is not None and value.constructor.name == "BytesStorageMetadata":
        return None
    fields = _attributes(value, "TensorStorageMetadata")
    shape, dtype = _sizes(fields["size"]), _dtype(fields["properties"])
    boxes = [_attributes(chunk, "ChunkStorageMetadata") for chunk in _list_items(fields["chunks"])]
    parts = [Part(_sizes(box["offsets"]), _sizes(box["sizes"])) for box in boxes]
    parts = sorted((part for part in parts if prod(part.sizes)), key=lambda part: part.offsets)
    if prod(shape) and not _is_tiled(parts, shape, 0):
        raise DamagedFileError(f"the parts of {name[:100]!r} overlap or are incomplete")
    return StoredTensor(shape, dtype, tuple(Part(p.offsets, p.sizes, *locations[name, p.offsets]) for p in parts))


def _list_items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _dtype(value: Any) -> torch.dtype:
    if not isinstance(value, Node) or value.constructor is None or value.constructor.name != "TensorProperties":
        raise TypeError
    named = value.state[0] if isinstance(value.state, tuple) and value.state else None
    if not isinstance(named, Name) or not is_dtype(named):
        raise TypeError
    if not _UNPACKED_DTYPES.fullmatch(named.name):
        raise DamagedFileError(f"a tensor has the unsupported type {named.name}")
    found: torch.dtype = vars(torch)[named.name]
    return found


def _is_tiled(parts: Sequence[Part], shape: Sizes, axis: int) -> bool:
    """Return whether the parts tile a tensor: slabs along `axis`, each tiled along the next axes."""
    if any(len(part.sizes) != len(shape) or len(part.offsets) != len(shape) for part in parts):
        return False
    if axis == len(shape):
        return len(parts) == 1
    end = 0
    ordered = sorted(parts, key=lambda part: (part.offsets[axis], part.sizes[axis]))
    for (start, size), slab in groupby(ordered, key=lambda part: (part.offsets[axis], part.sizes[axis])):
        if start != end or not _is_tiled(list(slab), shape, axis + 1):
            return False
        end = start + size
    return end == shape[axis]
