"""Tensors from other people's files, and nothing else from them.

Read are: safetensors (a file, or every one of a folder), torch's pickles in the mode that admits tensors alone,
torch's distributed checkpoints, and the run folders of NVIDIA's trainer, whose `latest_checkpoint.txt` names the
newest of them.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor

from worldtune.core.inert_pickle import DamagedError
from worldtune.core.torch_pickle import load_pickle, refuse_unfounded
from worldtune.distributed_checkpoint import read_all
from worldtune.errors import UserError, first_line

LATEST = "latest_checkpoint.txt"
PICKLES = {".pt", ".pth", ".bin", ".ckpt"}
LARGEST_HEADER = 100_000_000  # bytes, as safetensors has it
LONGEST_NAME = 255  # bytes of a file's name
_MEND = "Copy it again."


def denoiser_in(path: Path) -> Path:
    """The denoiser's own folder in a pipeline's folder; any other path as it is."""
    return path / "transformer" if (path / "transformer").is_dir() else path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by its name there, on the CPU.

    Raises UserError when there is none, or it is damaged, holds anything but tensors or names one twice.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UserError("there is no such file", where=str(path), mend="Correct the path.")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix in PICKLES:
        return _read_pickle(path)
    raise UserError(
        f"{path.suffix or 'a file without an ending'} is no checkpoint that is read",
        where=str(path),
        mend="Give .safetensors, .pt, or a folder.",
    )


def _read_folder(folder: Path) -> dict[str, Tensor]:
    if (folder / LATEST).is_file():
        return _read_newest(_latest(folder))
    return _read_newest(folder)


def _read_newest(folder: Path) -> dict[str, Tensor]:
    if (folder / ".metadata").is_file():
        return read_all(folder)
    if (folder / "model" / ".metadata").is_file():
        return read_all(_own(folder / "model"))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            "there is no checkpoint in this folder",
            where=str(folder),
            mend=f"Name a folder with .safetensors, .metadata or {LATEST}.",
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        part = read_safetensors(file)
        if twice := sorted(tensors.keys() & part.keys()):
            raise UserError(f"two files hold {twice[0]}", where=str(folder), mend="Keep the files of one model.")
        tensors |= part
    return tensors


def _latest(folder: Path) -> Path:
    with (folder / LATEST).open("rb") as file:
        name = file.read(LONGEST_NAME + 2).decode("utf-8", errors="replace").strip()
    if name in ("", "..") or Path(name).name != name or len(name) > LONGEST_NAME or not (folder / name).is_dir():
        raise UserError(
            f"{LATEST} names {name[:100]!r}, which is not here", where=str(folder), mend="Name the folder itself."
        )
    return _own(folder / name)


def _own(folder: Path) -> Path:
    """A folder inside of another. Raises UserError for a link: the digest of the other is not of what it leads to."""
    if folder.is_symlink():
        raise UserError("this folder is a link", where=str(folder), mend="Name the folder that it leads to.")
    return folder


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file. Raises UserError when it is damaged or names one twice."""
    try:
        refuse_twice(path)
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError) as error:  # KeyError: an element type that torch lacks
        raise UserError(f"the file cannot be read: {first_line(error)}", where=str(path), mend=_MEND) from error


def parse_safetensors(content: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of a safetensors file in memory, and its metadata. Raises UserError as `read_safetensors`."""
    try:
        length = int.from_bytes(content[:8], "little")
        if 8 + length > len(content) or length > LARGEST_HEADER:
            raise ValueError("it is cut short")
        metadata = _unique_header(content[8 : 8 + length]).get("__metadata__") or {}
        return dict(load(content)), dict(metadata)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the file cannot be read: {first_line(error)}", where=where, mend=_MEND) from error


def refuse_twice(path: Path) -> None:
    """Raises ValueError when a safetensors header is cut short, nested, or holds one name twice, which parsers hide."""
    if not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > path.stat().st_size or length > LARGEST_HEADER:
            raise ValueError("it is cut short")
        header = file.read(length)
    _unique_header(header)


def _unique_header(header: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(header, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"it holds {twice[:100]} twice")
    return found


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            value = load_pickle(file, path)
    except (OSError, DamagedError) as error:
        raise UserError(f"the file cannot be read: {first_line(error)}", where=str(path), mend=_MEND) from error
    if isinstance(value, dict) and set(value) in ({"model"}, {"state_dict"}):
        (value,) = value.values()
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        raise UserError("this is no mapping of names to tensors", where=str(path), mend="Give a model's weights.")
    strange = [name for name, entry in value.items() if not isinstance(entry, Tensor) and not _is_extra(name)]
    if strange:
        raise UserError(f"{strange[0][:100]} is no tensor", where=str(path), mend="Give a model's weights.")
    tensors = {name: entry for name, entry in value.items() if isinstance(entry, Tensor)}
    try:
        refuse_unfounded(list(tensors.values()), path.stat().st_size)
    except DamagedError as error:
        raise UserError(f"the file cannot be read: {error}", where=str(path), mend=_MEND) from error
    return tensors


def _is_extra(name: str) -> bool:
    """Transformer Engine keeps None or bytes there."""
    return name.endswith("_extra_state")
