"""A denoiser from NVIDIA's checkpoint to diffusers' folder and back, bit for bit.

The architecture is that of the known base whose tensors have exactly these names and shapes, or the one a
config.json states; nothing is written unless every tensor is accounted for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from worldtune.errors import BaseError
from worldtune.files import atomic_file, atomic_folder
from worldtune.tensor_files import denoiser_in, read_tensors
from worldtune.tensor_names import Style, rename_all
from worldtune.worlds.catalog import CONFIG_KEYS, KNOWN_BASES
from worldtune.worlds.config_file import read_json
from worldtune.worlds.weights import find_faults, refuse


@dataclass(frozen=True)
class Conversion:
    """What was written: the bases that have this architecture, tensors, parameters, and what was left out and why."""

    bases: list[str]
    tensors: int
    parameters: int
    dropped: dict[str, str]


def convert(source: Path, to: Style, out: Path, config: Path | None = None) -> Conversion:
    """Write the denoiser of `source` to `out`: a folder for diffusers, one .safetensors or .pt file for NVIDIA.

    Raises UserError when the source cannot be read, BaseError when it is in that style already, or its tensors are
    not exactly those of a known base or of `config`.
    """
    _check_out(to, out)
    folder = denoiser_in(source)
    tensors = read_tensors(folder)
    if any(name.startswith("transformer_blocks.") for name in tensors) == (to == "diffusers"):
        raise BaseError(f"this is in {to}'s style already", where=str(source), mend="Ask for the other one by --to.")
    if adapter := next((name for name in tensors if ".lora_" in name), None):
        raise BaseError(f"it holds an adapter, {adapter}", where=str(source), mend="Give the bare model's weights.")
    renaming = rename_all(tensors, to, str(source))
    renamed = renaming.of(tensors)
    ours = renamed if to == "diffusers" else {name: tensors[name] for name in renaming.names}
    config_path = config or (folder / "config.json" if (folder / "config.json").is_file() else None)
    arguments = _read_config(config_path) if config_path else recognise(ours, source)
    refuse(_faults(arguments, ours), source)
    if to == "diffusers":
        _write_diffusers(out, arguments, renamed)
    else:
        _write_nvidia(out, {f"net.{name}": tensor for name, tensor in renamed.items()})
    bases = [base.name for base in KNOWN_BASES if base.architecture.config() == arguments]
    return Conversion(bases, len(renamed), sum(t.numel() for t in renamed.values()), renaming.dropped)


def recognise(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Any]:
    """The class's arguments of the known base with exactly these tensors (in diffusers' names).

    Raises BaseError when there is none.
    """
    for architecture in dict.fromkeys(base.architecture for base in KNOWN_BASES):
        if not _faults(architecture.config(), tensors):
            return architecture.config()
    raise BaseError(
        "no known base has these tensors", where=str(source), mend="Give the model's config.json by --config."
    )


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path)
    if lacking := sorted(CONFIG_KEYS - config.keys()):
        raise BaseError(f"{lacking[0]} is not stated", where=str(path), mend="Give a transformer's config.json.")
    return {key: tuple(config[key]) if isinstance(config[key], list) else config[key] for key in CONFIG_KEYS}


def _faults(arguments: dict[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    """What keeps `tensors` from being all those of the class with these arguments."""
    with torch.device("meta"):
        expected = CosmosTransformer3DModel(**arguments).state_dict()
    return find_faults(*({name: tuple(t.shape) for name, t in these.items()} for these in (expected, tensors)))


def _check_out(to: Style, out: Path) -> None:
    if to == "nvidia" and out.suffix not in (".safetensors", ".pt"):
        raise BaseError("NVIDIA's style is one file", where=str(out), mend="Name a .pt or .safetensors file.")
    if out.exists():
        raise BaseError("it is there already", where=str(out), mend="Name a new file or folder.")


def _write_diffusers(out: Path, arguments: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        model = CosmosTransformer3DModel(**arguments)
    model.load_state_dict(tensors, assign=True)
    with atomic_folder(out) as partial:
        model.save_pretrained(partial)


def _write_nvidia(out: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_file(out) as partial:
        if out.suffix == ".pt":
            torch.save(tensors, partial)
        else:
            save_file(tensors, partial)
