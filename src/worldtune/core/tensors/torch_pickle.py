"""Load a `torch.save` file in torch's weights-only mode, after a check that runs no code.

The check rejects small files that could cost a reader much time or memory: compressed or overlapping members of the
zip, names that no file of weights has, and tuples whose hash takes hours.
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

from worldtune.core.tensors.pickle_parser import DamagedFileError, Name, parse_pickle
from worldtune.errors import first_line

# The errors of torch.load for a damaged file: its unpickler and its tensors check nothing first.
MALFORMED_ERRORS = (
    pickle.UnpicklingError, EOFError, RuntimeError, OSError, ValueError, TypeError, LookupError, AttributeError,
    AssertionError, ArithmeticError, MemoryError, struct.error,
)  # fmt: skip
MAX_SHARING = 8  # total bytes of tensors over the file's bytes; above 1 for tied weights
_ZIP = b"PK\x03\x04"
_CHUNK_BYTES = 1 << 20
_LOCAL_HEADER_BYTES = 30  # bytes, before the name
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
    """Return whether a name is one of torch's element types."""
    return name.module == "torch" and isinstance(vars(torch).get(name.name), torch.dtype)


def load_pickle(file: BinaryIO, path: Path | None = None) -> Any:
    """Return the object in a seekable file; with its `path`, tensors are memory-mapped.

    Raise DamagedFileError, with one line, if the file is damaged, has anything but tensors and plain data, or does not
    hold all bytes of a tensor.
    """
    size = file.seek(0, 2)
    file.seek(0)
    zipped = file.read(4) == _ZIP
    try:
        _check_zip(file, size) if zipped else _check_legacy(file)
        file.seek(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path or file, map_location="cpu", weights_only=True, mmap=zipped and path is not None)
    except (*MALFORMED_ERRORS, BadZipFile) as error:
        raise DamagedFileError(first_line(error)) from error


def check_backed_by_file(tensors: list[Tensor], size: int) -> None:
    """Raise DamagedFileError if a tensor is not dense, or all together are far more than `size` bytes."""
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise DamagedFileError("a tensor is not dense")
    if sum(prod(tensor.shape) * tensor.element_size() for tensor in tensors) > MAX_SHARING * size:
        raise DamagedFileError("its tensors are larger than the file")


def _check_zip(file: BinaryIO, size: int) -> None:
    with ZipFile(file) as archive:
        members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    end = 0
    for member in members:
        if member.compress_type != ZIP_STORED or member.compress_size != member.file_size:
            raise DamagedFileError(f"{member.filename[:100]!r} is compressed")
        if member.header_offset < end:
            raise DamagedFileError(f"{member.filename[:100]!r} overlaps another member")
        end = member.header_offset + _LOCAL_HEADER_BYTES + member.file_size
    names = [member.filename for member in members]
    if end > size or len(set(names)) != len(names):
        raise DamagedFileError("a member is outside the file, or there twice")
    if any(member.CRC for member in members):  # torch can write files without checksums
        _compare_checksums(file, members)
    sizes = {member.filename: member.file_size for member in members}
    for member in members:
        if member.filename.lower().endswith("data.pkl"):  # torch ignores the case of this name
            _seek_to(file, member)
            pickled = BytesIO(file.read(member.file_size))
            storages = f"{member.filename[:-4]}/"
            parse_pickle(pickled, _is_allowed, partial(_check_storage, storages=storages, sizes=sizes))


def _compare_checksums(file: BinaryIO, members: list[ZipInfo]) -> None:
    for member in members:
        _seek_to(file, member)
        checksum, remaining = 0, member.file_size
        while part := file.read(min(remaining, _CHUNK_BYTES)):
            checksum, remaining = crc32(part, checksum), remaining - len(part)
        if checksum != member.CRC:
            raise DamagedFileError(f"{member.filename[:100]!r} does not match its checksum")


def _check_storage(id: Any, storages: str, sizes: Mapping[str, int]) -> None:
    """Raise DamagedFileError if a storage has another length than the pickle says, which torch does not check."""
    word, kind, key, _, count, *_ = id if isinstance(id, tuple) and len(id) >= 5 else (None,) * 5
    known = isinstance(kind, Name) and kind.name.endswith("Storage") and isinstance(key, str) and type(count) is int
    if word != "storage" or not known:
        raise DamagedFileError("the pickle refers to something that is not a storage")
    size = 1 if kind.name == "UntypedStorage" else vars(torch)[kind.name]._dtype.itemsize
    if sizes.get(f"{storages}{key}", 0) != count * size:
        raise DamagedFileError(f"the storage {key[:100]!r} has another length than the pickle says")


def _seek_to(file: BinaryIO, member: ZipInfo) -> None:
    """Move the file to the first byte of a stored member."""
    file.seek(member.header_offset)
    name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER_BYTES)[26:30])
    file.seek(member.header_offset + _LOCAL_HEADER_BYTES + name + extra)


def _check_legacy(file: BinaryIO) -> None:
    """Check a file of torch before 1.6: several pickles, and then the tensors' bytes."""
    file.seek(0)
    for _ in range(_LEGACY_PICKLES):
        parse_pickle(file, _is_allowed)


def _is_allowed(name: Name) -> bool:
    storage = name.module in ("torch", "torch.cuda") and name.name.endswith("Storage") and name.name in vars(torch)
    return name.name in _NAMES.get(name.module, ()) or storage or is_dtype(name)
