"""Torch's distributed checkpoints (DCP), read without letting them run code, and ours to the bit.

Torch's own reader would unpickle the index with any name it holds, and entries that are no tensors too. Here the
index is read as data (`checkpoint_index`), and of its files only tensors. A checkpoint of ours holds the digests of
its files, which are compared before anything is loaded: `sha256sum -c checkpoint.sha256` does the same.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from worldtune.core.checkpoint_index import Part, StoredTensor, read_index
from worldtune.core.inert_pickle import DamagedError
from worldtune.core.torch_pickle import load_pickle
from worldtune.errors import UserError, first_line

CHUNK = 1 << 20
DIGESTS, INDEX = "checkpoint.sha256", ".metadata"
_LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+)", re.ASCII)
_MEND = "It was damaged, or is no checkpoint: remove it, and the one before is taken."
_OTHER = "It is of another adapter, optimiser or average: take the recipe it was made with."


def save_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint of `tensors` into `folder`, its digests last.

    Raises what stopped it, an OSError on a full disk.
    """
    try:
        with _single_process():
            dcp.save(dict(tensors), checkpoint_id=folder, no_dist=True)
    except CheckpointException as error:  # a BaseException, around one error of each process
        raise _root(next(iter(error.failures.values()))[0]) from error
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{_digest(file)}  {path.name}\n")
    with (folder / DIGESTS).open("w") as digests:
        digests.write("".join(lines))
        digests.flush()
        os.fsync(digests.fileno())  # as torch's writer does with the others


def _root(error: BaseException) -> BaseException:
    """What the disk or the user said, where torch's writer says that its file has another length than it should."""
    found: BaseException | None = error
    while isinstance(found, Exception) and not isinstance(found, OSError):
        found = found.__context__
    return found or error


@contextmanager
def _single_process() -> Iterator[None]:
    """DCP warns that it assumes a single process even when told so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def load_tensors(folder: Path, into: Mapping[str, Tensor], *, with_digests: bool = False) -> None:
    """Fill the tensors of `into`, in place, from the checkpoint in `folder`; what else it holds is not read.

    Raises UserError when a file is not what the digests say, which must be there if `with_digests`; when the index is
    missing, damaged or names anything but an index's own classes; or a tensor is missing, of another shape, or none.
    """
    with _opened(folder, with_digests=with_digests) as (index, files):
        for name, target in into.items():
            stored = index.get(name)
            if stored is None or stored.shape != tuple(target.shape):
                found = "absent" if name not in index else stored.shape if stored else "no tensor"
                raise UserError(f"{name} is {found}, not {tuple(target.shape)}", where=str(folder), mend=_OTHER)
        for name, target in into.items():
            if stored := index[name]:
                _fill(target, stored, files)


def read_all(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint. Raises UserError as `load_tensors` does."""
    with _opened(folder, with_digests=False) as (index, files):
        tensors = {}
        for name, stored in index.items():
            if stored is not None:
                tensors[name] = torch.empty(stored.shape, dtype=stored.dtype)
                _fill(tensors[name], stored, files)
    return tensors


Opened = tuple[dict[str, StoredTensor | None], dict[str, BinaryIO]]


@contextmanager
def _opened(folder: Path, *, with_digests: bool) -> Iterator[Opened]:
    """A checkpoint's index and its open files: what was checked is what is read from them."""
    try:
        with ExitStack() as stack:
            digests = _read_digests(folder) if with_digests or (folder / DIGESTS).exists() else None
            content = _open_file(folder, INDEX, stack).read()
            if digests is not None and digests.get(INDEX) != _digest(BytesIO(content)):
                raise _changed(INDEX)
            index = read_index(content)
            names = {part.file for stored in index.values() if stored for part in stored.parts}
            if digests is not None:
                names |= _there(folder, digests.keys() - {INDEX})
            files = {name: _open_file(folder, name, stack) for name in sorted(names)}
            for name, file in files.items():
                if digests is not None and digests.get(name) != _digest(file):
                    raise _changed(name)
            _check_places(index, files)
            yield index, files
    except (DamagedError, OSError) as error:
        what = f"the checkpoint cannot be read: {_told(error)}"
        raise UserError(what, where=str(folder), mend=_MEND) from error


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(error.filename).name}: {error.strerror}" if error.filename else error.strerror
    return first_line(error)


def _changed(name: str) -> DamagedError:
    return DamagedError(f"{name} is not what {DIGESTS} says that was written")


def _open_file(folder: Path, name: str, stack: ExitStack) -> BinaryIO:
    path = folder / name
    if path.exists() and not path.is_file():
        raise DamagedError(f"{name} is no file")
    return stack.enter_context(path.open("rb"))


def _read_digests(folder: Path) -> dict[str, str]:
    """SHA-256 by a file's name, as `save_tensors` wrote them."""
    with ExitStack() as stack:
        text = _open_file(folder, DIGESTS, stack).read().decode("utf-8", errors="replace")
    matches = [_LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")]
    found = {match[2]: match[1] for match in matches if match}
    if len(found) != len(matches) or not text.endswith("\n"):
        raise DamagedError(f"{DIGESTS} is damaged")
    return found


def _there(folder: Path, names: Set[str]) -> Set[str]:
    if gone := sorted(name for name in names if not (folder / name).exists()):
        raise DamagedError(f"{gone[0]}, which {DIGESTS} names, is not there")
    return names


def _digest(file: BinaryIO) -> str:
    sha = hashlib.sha256()
    while chunk := file.read(CHUNK):
        sha.update(chunk)
    return sha.hexdigest()


def _check_places(index: dict[str, StoredTensor | None], files: Mapping[str, BinaryIO]) -> None:
    """Raises DamagedError when a part is larger than its bytes, or they lie outside of its file or in another's."""
    ends = dict.fromkeys(files, 0)
    sizes = {name: os.fstat(file.fileno()).st_size for name, file in files.items()}
    parts = [(part, stored.dtype.itemsize) for stored in index.values() if stored for part in stored.parts]
    for part, itemsize in sorted(parts, key=lambda pair: pair[0].start):
        if part.start < ends[part.file] or part.start + part.length > sizes[part.file]:
            raise DamagedError(f"a part lies outside of {part.file}, or in the middle of another")
        if _volume(part) * itemsize > part.length:
            raise DamagedError(f"a part is larger than its bytes in {part.file}")
        ends[part.file] = part.start + part.length


def _volume(part: Part) -> int:
    volume = 1
    for size in part.sizes:
        volume *= size
    return volume


@torch.no_grad()
def _fill(target: Tensor, stored: StoredTensor, files: Mapping[str, BinaryIO]) -> None:
    for part in stored.parts:
        file = files[part.file]
        file.seek(part.start)
        found = load_pickle(BytesIO(file.read(part.length)))
        if not isinstance(found, Tensor) or found.layout != torch.strided or found.is_quantized:
            raise DamagedError(f"a part in {part.file} is no dense tensor")
        if tuple(found.shape) != part.sizes or found.dtype != stored.dtype:
            raise DamagedError(f"a part in {part.file} is not of the shape or kind that the index says")
        box = tuple(slice(offset, offset + size) for offset, size in zip(part.offsets, part.sizes, strict=True))
        target.detach()[box].copy_(found)
