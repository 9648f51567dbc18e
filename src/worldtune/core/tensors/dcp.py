"""Read torch's distributed checkpoints (DCP) without running code in them; write and verify our own.

Torch's reader would unpickle any name in the index, and entries that are not tensors. Here the index is parsed as data
(`dcp_index`), and only tensors are read. Our own checkpoints hold the digests of their files, which are verified before
anything is loaded; `sha256sum -c checkpoint.sha256` does the same.
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

from worldtune.core.tensors.dcp_index import Part, StoredTensor, read_index
from worldtune.core.tensors.pickle_parser import DamagedFileError
from worldtune.core.tensors.torch_pickle import load_pickle
from worldtune.errors import UserError, first_line

CHUNK = 1 << 20
DIGEST_FILE, INDEX_FILE = "checkpoint.sha256", ".metadata"
_DIGEST_LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+)", re.ASCII)
_HINT = "It is damaged, or not a checkpoint: remove it to use the previous one."
_MISMATCH_HINT = "It belongs to another adapter, optimizer or average: use the recipe that it was made with."


def save_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint of `tensors` into `folder`, its digests last.

    Raise the error that stopped the write, such as OSError on a full disk.
    """
    try:
        with _single_process():
            dcp.save(dict(tensors), checkpoint_id=folder, no_dist=True)
    except CheckpointException as error:  # a BaseException, around one error of each process
        raise _root_cause(next(iter(error.failures.values()))[0]) from error
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{_digest(file)}  {path.name}\n")
    with (folder / DIGEST_FILE).open("w") as digests:
        digests.write("".join(lines))
        digests.flush()
        os.fsync(digests.fileno())  # as torch's writer does for the other files


def _root_cause(error: BaseException) -> BaseException:
    """Return the first error, of the disk or the user: torch's writer reports a wrong file length on top of it."""
    found: BaseException | None = error
    while isinstance(found, Exception) and not isinstance(found, OSError):
        found = found.__context__
    return found or error


@contextmanager
def _single_process() -> Iterator[None]:
    """Silence DCP's warning that it assumes a single process, which it gives even with `no_dist`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def load_tensors(folder: Path, into: Mapping[str, Tensor], *, require_digests: bool = False) -> None:
    """Fill the tensors of `into`, in place, from the checkpoint in `folder`; read no other entries.

    Raise UserError if a file does not match its digest, or has none although `require_digests`; if the index is
    missing, damaged or names other classes than those of an index; or if an entry is missing, has another shape, or is
    not a tensor.
    """
    with _open_checkpoint(folder, require_digests=require_digests) as (index, files):
        for name, target in into.items():
            stored = index.get(name)
            if stored is None or stored.shape != tuple(target.shape):
                found = "absent" if name not in index else stored.shape if stored else "not a tensor"
                raise UserError(f"{name} is {found}, not {tuple(target.shape)}", where=str(folder), hint=_MISMATCH_HINT)
        for name, target in into.items():
            if stored := index[name]:
                _fill(target, stored, files)


def read_all(folder: Path) -> dict[str, Tensor]:
    """Return every tensor of a checkpoint. Raise UserError as `load_tensors` does."""
    with _open_checkpoint(folder, require_digests=False) as (index, files):
        tensors = {}
        for name, stored in index.items():
            if stored is not None:
                tensors[name] = torch.empty(stored.shape, dtype=stored.dtype)
                _fill(tensors[name], stored, files)
    return tensors


OpenCheckpoint = tuple[dict[str, StoredTensor | None], dict[str, BinaryIO]]


@contextmanager
def _open_checkpoint(folder: Path, *, require_digests: bool) -> Iterator[OpenCheckpoint]:
    """Yield a checkpoint's index and its open, verified files, so that the verified bytes are those that are read."""
    try:
        with ExitStack() as stack:
            digests = _read_digests(folder) if require_digests or (folder / DIGEST_FILE).exists() else None
            content = _open_file(folder, INDEX_FILE, stack).read()
            if digests is not None and digests.get(INDEX_FILE) != _digest(BytesIO(content)):
                raise _digest_mismatch(INDEX_FILE)
            index = read_index(content)
            names = {part.file for stored in index.values() if stored for part in stored.parts}
            if digests is not None:
                names |= _check_present(folder, digests.keys() - {INDEX_FILE})
            files = {name: _open_file(folder, name, stack) for name in sorted(names)}
            for name, file in files.items():
                if digests is not None and digests.get(name) != _digest(file):
                    raise _digest_mismatch(name)
            _check_extents(index, files)
            yield index, files
    except (DamagedFileError, OSError) as error:
        what = f"the checkpoint cannot be read: {_describe_error(error)}"
        raise UserError(what, where=str(folder), hint=_HINT) from error


def _describe_error(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(error.filename).name}: {error.strerror}" if error.filename else error.strerror
    return first_line(error)


def _digest_mismatch(name: str) -> DamagedFileError:
    return DamagedFileError(f"{name} does not match its digest in {DIGEST_FILE}")


def _open_file(folder: Path, name: str, stack: ExitStack) -> BinaryIO:
    path = folder / name
    if path.exists() and not path.is_file():
        raise DamagedFileError(f"{name} is not a regular file")
    return stack.enter_context(path.open("rb"))


def _read_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 by file name, as `save_tensors` wrote them."""
    with ExitStack() as stack:
        text = _open_file(folder, DIGEST_FILE, stack).read().decode("utf-8", errors="replace")
    matches = [_DIGEST_LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")]
    found = {match[2]: match[1] for match in matches if match}
    if len(found) != len(matches) or not text.endswith("\n"):
        raise DamagedFileError(f"{DIGEST_FILE} is damaged")
    return found


def _check_present(folder: Path, names: Set[str]) -> Set[str]:
    if missing := sorted(name for name in names if not (folder / name).exists()):
        raise DamagedFileError(f"{missing[0]} is missing, but {DIGEST_FILE} names it")
    return names


def _digest(file: BinaryIO) -> str:
    sha = hashlib.sha256()
    while chunk := file.read(CHUNK):
        sha.update(chunk)
    return sha.hexdigest()


def _check_extents(index: dict[str, StoredTensor | None], files: Mapping[str, BinaryIO]) -> None:
    """Raise DamagedFileError if a part is larger than its bytes, is outside its file or overlaps another part."""
    ends = dict.fromkeys(files, 0)
    sizes = {name: os.fstat(file.fileno()).st_size for name, file in files.items()}
    parts = [(part, stored.dtype.itemsize) for stored in index.values() if stored for part in stored.parts]
    for part, itemsize in sorted(parts, key=lambda pair: pair[0].start):
        if part.start < ends[part.file] or part.start + part.length > sizes[part.file]:
            raise DamagedFileError(f"a part is outside {part.file}, or overlaps another part")
        if _volume(part) * itemsize > part.length:
            raise DamagedFileError(f"a part is larger than its bytes in {part.file}")
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
        values = load_pickle(BytesIO(file.read(part.length)))
        if not isinstance(values, Tensor) or values.layout != torch.strided or values.is_quantized:
            raise DamagedFileError(f"a part in {part.file} is not a dense tensor")
        if tuple(values.shape) != part.sizes or values.dtype != stored.dtype:
            raise DamagedFileError(f"a part in {part.file} has another shape or type than the index says")
        region = tuple(slice(offset, offset + size) for offset, size in zip(part.offsets, part.sizes, strict=True))
        target.detach()[region].copy_(values)
