"""Tensors from other people's files, and nothing else from them.

Read are: safetensors (a file, or every one of a folder), torch's pickles in the mode that admits tensors alone,
torch's distributed checkpoints, and the run folders of NVIDIA's trainer, whose `latest_checkpoint.txt` names the
newest of them.
"""

import json
import pickle
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from worldtune.distributed_checkpoint import load_tensors, tensors_in
from worldtune.errors import UserError, first_line

LATEST = "latest_checkpoint.txt"
PICKLES = {".pt", ".pth", ".bin", ".ckpt"}
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
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return _read_pickle(path)
    raise UserError(
        f"{path.suffix or 'a file without an ending'} is no checkpoint that is read",
        where=str(path),
        mend="Give .safetensors, .pt, or a folder.",
    )


def _read_folder(folder: Path) -> dict[str, Tensor]:
    if (folder / LATEST).is_file():
        return _read_folder(_latest(folder))
    if (folder / ".metadata").is_file():
        tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in tensors_in(folder).items()}
        load_tensors(folder, tensors)
        return tensors
    if (folder / "model" / ".metadata").is_file():
        return _read_folder(folder / "model")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            "there is no checkpoint in this folder",
            where=str(folder),
            mend=f"Name a folder with .safetensors, .metadata or {LATEST}.",
        )
    tensors = {}
    for file in files:
        part = _read_safetensors(file)
        if twice := sorted(tensors.keys() & part.keys()):
            raise UserError(f"two files hold {twice[0]}", where=str(folder), mend="Keep the files of one model.")
        tensors |= part
    return tensors


def _latest(folder: Path) -> Path:
    name = (folder / LATEST).read_text(encoding="utf-8").strip()
    if not name or Path(name).name != name or not (folder / name).is_dir():
        raise UserError(
            f"{LATEST} names {name!r}, which is not here", where=str(folder), mend="Name the folder itself."
        )
    return folder / name


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        refuse_twice(path)
        return dict(load_file(path))
    except (SafetensorError, ValueError) as error:
        raise UserError(f"the file cannot be read: {error}", where=str(path), mend=_MEND) from error


def refuse_twice(path: Path) -> None:
    """Raises ValueError when a safetensors header is cut short or holds one name twice, which parsers hide."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("it is cut short")
        header = file.read(length)

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"it holds {twice} twice")
        return dict(pairs)

    json.loads(header, object_pairs_hook=unique)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"the file cannot be read: {first_line(error)}", where=str(path), mend=_MEND) from error
    if isinstance(value, dict) and set(value) in ({"model"}, {"state_dict"}):
        (value,) = value.values()
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        raise UserError("this is no mapping of names to tensors", where=str(path), mend="Give a model's weights.")
    strange = [name for name, entry in value.items() if not isinstance(entry, Tensor) and not _is_extra(name)]
    if strange:
        raise UserError(f"{strange[0]} is no tensor", where=str(path), mend="Give a model's weights.")
    return {name: entry for name, entry in value.items() if isinstance(entry, Tensor)}


def _is_extra(name: str) -> bool:
    """Transformer Engine keeps None or bytes there."""
    return name.endswith("_extra_state")
