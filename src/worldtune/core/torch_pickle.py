"""What `torch.save` wrote, in torch's mode that admits tensors alone, after a look at it that runs nothing.

The look refuses what a small file could cost a reader much time or memory with: packed or overlapping members of the
zip, names that no file of weights has, tuples whose hash takes hours.
"""

import pickle
import struct
import warnings
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import crc32

import torch
from torch import Tensor

from worldtune.core.inert_pickle import DamagedError, Name, read_inert
from worldtune.errors import first_line

# What torch.load raises for a damaged file, beside its own: its unpickler and its tensors check nothing beforehand.
MALFORMED = (
    pickle.UnpicklingError, EOFError, RuntimeError, OSError, ValueError, TypeError, LookupError, AttributeError,
    AssertionError, ArithmeticError, MemoryError, struct.error,
)  # fmt: skip
SHARED = 8  # times that all of a file's bytes may be shared out, by weights that are tied
_ZIP = b"PK\x03\x04"
_CHUNK = 1 << 20
_LOCAL_HEADER = 30  # bytes, before the name
_LEGACY_PICKLES = 5  # magic number, protocol, system, the object, the keys of its storages
_NAMES = {
    "collections": {"OrderedDict"},
    "torch._utils": {
        "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter",
        "_rebuild_parameter_with_state",
    },
    "torch._tensor": {"_rebuild_from_type_v2", "Tensor"},
    "torch.nn.parameter": {"Parameter"},
    "torch": {"Tensor", "Size", "device"},
    "torch.storage": {"UntypedStorage", "TypedStorage"},
    "torch.serialization": {"_get_layout"},
    "_codecs": {"encode"},
}  # fmt: skip


def is_dtype(name: Name) -> bool:
    """Does it name one of torch's element types?"""
    return name.module == "torch" and isinstance(vars(torch).get(name.name), torch.dtype)


def load_pickle(file: BinaryIO, path: Path | None = None) -> Any:
    """The object in a file that can be sought in; with its `path`, large tensors stay on the disk until they are used.

    Raises DamagedError, with one line, when it is damaged, holds anything but tensors and plain data, or a tensor
    is not wholly and densely in the file.
    """
    size = file.seek(0, 2)
    file.seek(0)
    zipped = file.read(4) == _ZIP
    try:
        _look_at_zip(file, size) if zipped else _look_at_legacy(file)
        file.seek(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path or file, map_location="cpu", weights_only=True, mmap=zipped and path is not None)
    except (*MALFORMED, BadZipFile) as error:
        raise DamagedError(first_line(error)) from error


def refuse_unfounded(tensors: list[Tensor], size: int) -> None:
    """Raises DamagedError for a tensor that is not dense, or when all together are far more than `size` bytes."""
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise DamagedError("a tensor is not a dense one")
    if sum(prod(tensor.shape) * tensor.element_size() for tensor in tensors) > SHARED * size:
        raise DamagedError("its tensors are larger than the file")


def _look_at_zip(file: BinaryIO, size: int) -> None:
    with ZipFile(file) as archive:
        members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    end = 0
    for member in members:
        if member.compress_type != ZIP_STORED or member.compress_size != member.file_size:
            raise DamagedError(f"{member.filename[:100]!r} is packed")
        if member.header_offset < end:
            raise DamagedError(f"{member.filename[:100]!r} overlaps another member")
        end = member.header_offset + _LOCAL_HEADER + member.file_size
    names = [member.filename for member in members]
    if end > size or len(set(names)) != len(names):
        raise DamagedError("its members are not all in it, or one is twice")
    if any(member.CRC for member in members):  # torch can be told to leave all of them out
        _compare_checksums(file, members)
    sizes = {member.filename: member.file_size for member in members}
    for member in members:
        if member.filename.lower().endswith("data.pkl"):  # torch finds it by capitals too
            _go_to(file, member)
            pickled = BytesIO(file.read(member.file_size))
            storages = f"{member.filename[:-4]}/"
            read_inert(pickled, _admits, partial(_check_storage, storages=storages, sizes=sizes))


def _compare_checksums(file: BinaryIO, members: list[ZipInfo]) -> None:
    for member in members:
        _go_to(file, member)
        found, left = 0, member.file_size
        while part := file.read(min(left, _CHUNK)):
            found, left = crc32(part, found), left - len(part)
        if found != member.CRC:
            raise DamagedError(f"{member.filename[:100]!r} is not what its checksum says")


def _check_storage(id: Any, storages: str, sizes: Mapping[str, int]) -> None:
    """Raises DamagedError when a storage has another length than the pickle says: torch reads what is there."""
    word, kind, key, _, count, *_ = id if isinstance(id, tuple) and len(id) >= 5 else (None,) * 5
    known = isinstance(kind, Name) and kind.name.endswith("Storage") and isinstance(key, str) and type(count) is int
    if word != "storage" or not known:
        raise DamagedError("it refers to something that is no storage")
    size = 1 if kind.name == "UntypedStorage" else vars(torch)[kind.name]._dtype.itemsize
    if sizes.get(f"{storages}{key}", 0) != count * size:
        raise DamagedError(f"the storage {key[:100]!r} has another length than it says")


def _go_to(file: BinaryIO, member: ZipInfo) -> None:
    """To the first byte of a stored member."""
    file.seek(member.header_offset)
    name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[26:30])
    file.seek(member.header_offset + _LOCAL_HEADER + name + extra)


def _look_at_legacy(file: BinaryIO) -> None:
    """Before torch 1.6: pickles, one after another, and then the tensors' bytes."""
    file.seek(0)
    for _ in range(_LEGACY_PICKLES):
        read_inert(file, _admits)


def _admits(name: Name) -> bool:
    storage = name.module in ("torch", "torch.cuda") and name.name.endswith("Storage") and name.name in vars(torch)
    return name.name in _NAMES.get(name.module, ()) or storage or is_dtype(name)
