"""Torch's distributed checkpoints (DCP), read without letting them run code.

The index of such a folder, `.metadata`, is a pickle, which torch unpickles with any name it holds, and entries that
are no tensors are pickles too. Here the index may name the classes of a checkpoint's index and nothing else, and
only tensors are read. Source: torch `distributed/checkpoint/filesystem.py`, `FileSystemReader.read_metadata`.
"""

import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader, Metadata
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, TensorStorageMetadata

from worldtune.errors import UserError, first_line

_INDEX = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata", "BytesStorageMetadata",
        "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath", "PurePosixPath", "Path"},
    "collections": {"OrderedDict"},
}  # fmt: skip
_DAMAGE = (
    AttributeError, EOFError, IndexError, KeyError, MemoryError, OverflowError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
_MEND = "It was damaged, or is no checkpoint: remove it, and the one before is taken."
_OTHER = "It is of another adapter, optimiser or average: take the recipe it was made with."


class _IndexUnpickler(pickle.Unpickler):
    """Finds the names of an index: its classes, sizes and element types."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):  # how Python 3.11.2 names a member of an enumeration
            return _member
        kinds = torch.dtype | torch.layout | torch.memory_format
        of_torch = module == "torch" and (name == "Size" or isinstance(getattr(torch, name, None), kinds))
        if not of_torch and name not in _INDEX.get(module, ()):
            raise pickle.UnpicklingError(f"the index names {module}.{name}")
        return super().find_class(module, name)


def _member(kind: Any, name: str) -> Any:
    """Raises UnpicklingError for an attribute of anything but an index's own enumeration."""
    if kind is not _MEM_FORMAT_ENCODING:
        raise pickle.UnpicklingError(f"the index names an attribute of {kind!r}")
    return kind[name]


class _Reader(FileSystemReader):
    """Reads the tensors that an index, read already, leads to."""

    def __init__(self, folder: Path, index: Metadata) -> None:
        super().__init__(folder)
        self.index = index

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self.index


def save_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint of `tensors` into `folder`. Raises what stopped it, an OSError on a full disk."""
    try:
        with _single_process():
            dcp.save(dict(tensors), checkpoint_id=folder, no_dist=True)
    except CheckpointException as error:  # a BaseException, around one error of each process
        raise _root(next(iter(error.failures.values()))[0]) from error


def _root(error: BaseException) -> BaseException:
    """What the disk or the user said, where torch's writer says that its file has another length than it should."""
    found: BaseException | None = error
    while isinstance(found, Exception) and not isinstance(found, OSError):
        found = found.__context__
    return found or error


def load_tensors(folder: Path, into: Mapping[str, Tensor]) -> None:
    """Fill the tensors of `into`, in place, from the checkpoint in `folder`; what else it holds is not read.

    Raises UserError when the index is missing, damaged or names anything but an index's own classes, or a tensor is
    missing, of another shape, or no tensor.
    """
    index = _open_index(folder)
    for name, tensor in into.items():
        entry = index.state_dict_metadata.get(name)
        if not isinstance(entry, TensorStorageMetadata) or entry.size != tensor.shape:
            found = "absent" if entry is None else getattr(entry, "size", "no tensor")
            raise UserError(f"{name} is {found}, not {tuple(tensor.shape)}", where=str(folder), mend=_OTHER)
    try:
        with _single_process():
            dcp.load(dict(into), storage_reader=_Reader(folder, index), no_dist=True)
    except (CheckpointException, OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise _unreadable(error, folder) from error


def tensors_in(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shape and element type of every tensor in a checkpoint, by name. Raises UserError as `load_tensors` does."""
    return {
        name: (entry.size, entry.properties.dtype)
        for name, entry in _open_index(folder).state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }


@contextmanager
def _single_process() -> Iterator[None]:
    """DCP warns that it assumes a single process even when told so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _unreadable(error: BaseException, folder: Path) -> UserError:
    return UserError(f"the checkpoint cannot be read: {first_line(error)}", where=str(folder), mend=_MEND)


def _open_index(folder: Path) -> Metadata:
    try:
        with (folder / ".metadata").open("rb") as file:
            return _read_index(file)
    except (OSError, pickle.UnpicklingError) as error:
        raise _unreadable(error, folder) from error


def _read_index(file: BinaryIO) -> Metadata:
    try:
        index = _IndexUnpickler(file).load()
        _check(index)
    except _DAMAGE as error:
        raise pickle.UnpicklingError(f"the index is damaged ({type(error).__name__})") from error
    return index


def _check(index: Any) -> None:
    """Raises TypeError or AttributeError for what is no index, UnpicklingError when it leads out of its folder."""
    if not isinstance(index, Metadata):
        raise TypeError
    tensors = [entry for entry in index.state_dict_metadata.values() if isinstance(entry, TensorStorageMetadata)]
    if not all(isinstance(t.size, torch.Size) and isinstance(t.properties.dtype, torch.dtype) for t in tensors):
        raise TypeError
    for place in index.storage_data.values():
        if Path(place.relative_path).name != place.relative_path:
            raise pickle.UnpicklingError(f"the index leads out of its folder, to {place.relative_path}")
