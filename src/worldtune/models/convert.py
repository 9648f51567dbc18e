"""Convert a denoiser from NVIDIA's checkpoint to diffusers' folder and back, bit for bit.

The architecture is that of the known base with exactly these names and shapes of tensors, or that of a config.json.
Nothing is written unless every tensor is accounted for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from worldtune.core.files import atomic_file, atomic_folder
from worldtune.core.tensors.names import Style, rename_tensors
from worldtune.core.tensors.read import find_denoiser, read_tensors
from worldtune.errors import BaseError
from worldtune.models.catalog import CONFIG_KEYS, KNOWN_BASES
from worldtune.models.model_config import read_config
from worldtune.models.weights import find_faults, raise_first_fault


@dataclass(frozen=True)
class Conversion:
    """The result: bases with this architecture, counts of tensors and parameters, and left-out tensors with reasons."""

    bases: list[str]
    tensors: int
    parameters: int
    dropped: dict[str, str]


def convert(source: Path, to: Style, out: Path, config: Path | None = None) -> Conversion:
    """Write the denoiser of `source` to `out`: a folder for diffusers, one .safetensors or .pt file for NVIDIA.

    Raise UserError if the source cannot be read; BaseError if it is in that style already, or its tensors are not
    exactly those of a known base or of `config`.
    """
    _check_out(to, out)
    folder = find_denoiser(source)
    tensors = read_tensors(folder)
    if any(name.startswith("transformer_blocks.") for name in tensors) == (to == "diffusers"):
        raise BaseError(f"the source already has {to}'s style", where=str(source), hint="Use the other style in --to.")
    if adapter := next((name for name in tensors if ".lora_" in name), None):
        what = f"the source holds an adapter, {adapter}"
        raise BaseError(what, where=str(source), hint="Give the weights without adapter.")
    renaming = rename_tensors(tensors, to, str(source))
    renamed = renaming.of(tensors)
    ours = renamed if to == "diffusers" else {name: tensors[name] for name in renaming.names}
    config_path = config or (folder / "config.json" if (folder / "config.json").is_file() else None)
    arguments = _read_config(config_path) if config_path else recognize(ours, source)
    raise_first_fault(_faults(arguments, ours), source)
    if to == "diffusers":
        _write_diffusers(out, arguments, renamed)
    else:
        _write_nvidia(out, {f"net.{name}": tensor for name, tensor in renamed.items()})
    bases = [base.name for base in KNOWN_BASES if base.architecture.config() == arguments]
    return Conversion(bases, len(renamed), sum(t.numel() for t in renamed.values()), renaming.dropped)


def recognize(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Any]:
    """Return the class arguments of the known base with exactly these tensors (by diffusers' names).

    Raise BaseError if there is none.
    """
    for architecture in dict.fromkeys(base.architecture for base in KNOWN_BASES):
        if not _faults(architecture.config(), tensors):
            return architecture.config()
    raise BaseError(
        "no known base has these tensors", where=str(source), hint="Give the model's config.json by --config."
    )


def _read_config(path: Path) -> dict[str, Any]:
    config = read_config(path)
    if missing := sorted(CONFIG_KEYS - config.keys()):
        raise BaseError(f"{missing[0]} is not stated", where=str(path), hint="Give a transformer's config.json.")
    return {key: tuple(config[key]) if isinstance(config[key], list) else config[key] for key in CONFIG_KEYS}


def _faults(arguments: dict[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the differences between `tensors` and those of the class with these arguments."""
    with torch.device("meta"):
        expected = CosmosTransformer3DModel(**arguments).state_dict()
    return find_faults(*({name: tuple(t.shape) for name, t in named.items()} for named in (expected, tensors)))


def _check_out(to: Style, out: Path) -> None:
    if to == "nvidia" and out.suffix not in (".safetensors", ".pt"):
        raise BaseError("NVIDIA's style is one file", where=str(out), hint="Specify a .pt or .safetensors file.")
    if out.exists():
        raise BaseError("the output already exists", where=str(out), hint="Choose a new file or folder.")


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
