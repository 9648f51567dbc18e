"""Read tensors, and nothing else, from untrusted files.

Formats: safetensors (a file, or all files of a folder), torch's pickles in weights-only mode, torch's distributed
checkpoints, and the run folders of NVIDIA's trainer, whose `latest_checkpoint.txt` names the newest checkpoint. A
safetensors file can also be read as `StoredTensor`s, without importing torch.
"""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors import SafetensorError, deserialize, safe_open

from worldtune.core.git_lfs import POINTER_MESSAGE, PULL_HINT, is_pointer
from worldtune.core.stored_tensors import stored_tensors
from worldtune.core.tensors.pickle_parser import DamagedFileError
from worldtune.errors import UserError, first_line

if TYPE_CHECKING:
    from torch import Tensor

LATEST_FILE = "latest_checkpoint.txt"
PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".ckpt"}
MAX_HEADER_BYTES = 100_000_000  # bytes, as safetensors has it
MAX_NAME_BYTES = 255  # bytes of a file's name
_HINT = "Copy it again."


def find_denoiser(path: Path) -> Path:
    """Return the denoiser's folder inside a pipeline's folder, any other path unchanged."""
    return path / "transformer" if (path / "transformer").is_dir() else path


def read_tensors(path: Path, *, stored: bool = False) -> "dict[str, Tensor]":
    """Return every tensor of a checkpoint by name, on the CPU.

    With `stored`, tensors of safetensors files are `StoredTensor`s if their types allow it. Raise UserError if there is
    no checkpoint, or it is damaged, has anything but tensors, or has a duplicate name.
    """
    if path.is_dir():
        return _read_folder(path, stored)
    if not path.is_file():
        raise UserError("there is no such file", where=str(path), hint="Correct the path.")
    if is_pointer(path):
        raise UserError(POINTER_MESSAGE, where=str(path), hint=PULL_HINT)
    if path.suffix == ".safetensors":
        return read_safetensors(path, stored=stored)
    if path.suffix in PICKLE_SUFFIXES:
        return _read_pickle(path)
    raise UserError(
        f"{path.suffix or 'a file without an extension'} is not a supported checkpoint",
        where=str(path),
        hint="Use .safetensors, .pt, or a folder.",
    )


def _read_folder(folder: Path, stored: bool) -> "dict[str, Tensor]":
    if (folder / LATEST_FILE).is_file():
        return _read_newest(_find_latest(folder), stored)
    return _read_newest(folder, stored)


def _read_newest(folder: Path, stored: bool) -> "dict[str, Tensor]":
    if (folder / ".metadata").is_file():
        return _read_distributed(folder)
    if (folder / "model" / ".metadata").is_file():
        return _read_distributed(_check_not_link(folder / "model"))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            "there is no checkpoint in this folder",
            where=str(folder),
            hint=f"Specify a folder with .safetensors, .metadata or {LATEST_FILE}.",
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        part = read_safetensors(file, stored=stored)
        if duplicates := sorted(tensors.keys() & part.keys()):
            raise UserError(f"two files have {duplicates[0]}", where=str(folder), hint="Keep the files of one model.")
        tensors |= part
    return tensors


def _read_distributed(folder: Path) -> "dict[str, Tensor]":
    from worldtune.core.tensors.dcp import read_all  # torch.distributed takes seconds to import

    return read_all(folder)


def _find_latest(folder: Path) -> Path:
    with (folder / LATEST_FILE).open("rb") as file:
        name = file.read(MAX_NAME_BYTES + 2).decode("utf-8", errors="replace").strip()
    if name in ("", "..") or Path(name).name != name or len(name) > MAX_NAME_BYTES or not (folder / name).is_dir():
        raise UserError(
            f"{LATEST_FILE} names {name[:100]!r}, which is missing",
            where=str(folder),
            hint="Specify the folder itself.",
        )
    return _check_not_link(folder / name)


def _check_not_link(folder: Path) -> Path:
    """Return a folder inside another. Raise UserError for a link: the outer digest does not cover its target."""
    if folder.is_symlink():
        raise UserError("this folder is a link", where=str(folder), hint="Specify the target of the link.")
    return folder


def read_safetensors(path: Path, *, stored: bool = False) -> "dict[str, Tensor]":
    """Return every tensor of a safetensors file. Raise UserError if it is damaged or has a duplicate name.

    With `stored`, they are `StoredTensor`s if their types allow it.
    """
    try:
        header = _header(path)
        if stored and (found := _stored(path, header)) is not None:
            return found
        from safetensors.torch import load_file

        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError) as error:  # KeyError: an element type that torch lacks
        raise UserError(f"the file cannot be read: {first_line(error)}", where=str(path), hint=_HINT) from error


def parse_safetensors(
    content: bytes, where: str, *, stored: bool = False
) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Return every tensor and the metadata of a safetensors file in memory. Raise as `read_safetensors` does."""
    try:
        length = int.from_bytes(content[:8], "little")
        if 8 + length > len(content) or length > MAX_HEADER_BYTES:
            raise ValueError("it is cut short")
        header = _unique_header(content[8 : 8 + length])
        metadata = dict(header.get("__metadata__") or {})
        if stored:
            deserialize(content)  # raises for an invalid header
            if (found := stored_tensors(header, memoryview(content)[8 + length :])) is not None:
                return cast("dict[str, Tensor]", found), metadata
        from safetensors.torch import load

        return dict(load(content)), metadata
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the file cannot be read: {first_line(error)}", where=where, hint=_HINT) from error


def _stored(path: Path, header: dict[str, Any]) -> "dict[str, Tensor] | None":
    """Return the tensors of a file as StoredTensors, None if their types need torch."""
    import numpy as np

    with safe_open(path, "np"):  # raises for an invalid header
        content = np.memmap(path, mode="r")
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    return cast("dict[str, Tensor] | None", stored_tensors(header, content[start:]))


def check_unique_names(path: Path) -> None:
    """Raise ValueError if a safetensors header is cut short, nested, or has a duplicate name, which parsers hide."""
    _header(path)


def _header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError("it is not a regular file")
    if is_pointer(path):
        raise ValueError(POINTER_MESSAGE)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > path.stat().st_size or length > MAX_HEADER_BYTES:
            raise ValueError("it is cut short")
        header = file.read(length)
    return _unique_header(header)


def _unique_header(header: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(header, object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    return found


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        duplicates = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"it has {duplicates[:100]} twice")
    return found


def _read_pickle(path: Path) -> "dict[str, Tensor]":
    from torch import Tensor

    from worldtune.core.tensors.torch_pickle import check_backed_by_file, load_pickle

    try:
        with path.open("rb") as file:
            value = load_pickle(file, path)
    except (OSError, DamagedFileError) as error:
        raise UserError(f"the file cannot be read: {first_line(error)}", where=str(path), hint=_HINT) from error
    if isinstance(value, dict) and set(value) in ({"model"}, {"state_dict"}):
        (value,) = value.values()
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        raise UserError("not a mapping of names to tensors", where=str(path), hint="Use a model's weights.")
    non_tensors = [name for name, entry in value.items() if not isinstance(entry, Tensor) and not _is_extra(name)]
    if non_tensors:
        raise UserError(f"{non_tensors[0][:100]} is not a tensor", where=str(path), hint="Use a model's weights.")
    tensors = {name: entry for name, entry in value.items() if isinstance(entry, Tensor)}
    try:
        check_backed_by_file(list(tensors.values()), path.stat().st_size)
    except DamagedFileError as error:
        raise UserError(f"the file cannot be read: {error}", where=str(path), hint=_HINT) from error
    return tensors


def _is_extra(name: str) -> bool:
    """Return whether Transformer Engine stores None or bytes, not a tensor, under this name."""
    return name.endswith("_extra_state")
