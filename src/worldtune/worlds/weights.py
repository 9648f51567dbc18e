"""Modules from disk, every tensor accounted for.

Nothing is loaded that does not fit exactly: a base whose weights were silently left out trains adapters on
noise (https://github.com/nvidia-cosmos/cosmos-predict2.5/issues/160).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from worldtune.errors import BaseError, UserError
from worldtune.tensor_files import read_safetensors
from worldtune.worlds.config_file import read_json
from worldtune.worlds.foreign_config import MEND, OneLine, refuse_endless

if TYPE_CHECKING:  # whoever only looks at a config does not wait for diffusers
    from diffusers import AutoencoderKLWan, CosmosTransformer3DModel

Shape = tuple[int, ...]
LISTED = 20  # faults in a message


def load_module(kind: type[Any], folder: Path, dtype: torch.dtype) -> "CosmosTransformer3DModel | AutoencoderKLWan":
    """The diffusers module of class `kind` in `folder`, frozen.

    Raises BaseError when its config or a tensor is missing, unknown or of another shape, or a file damaged.
    """
    found = read_json(folder / "config.json").get("_class_name")
    if found != kind.__name__:
        raise BaseError(f"this is a {found}, not a {kind.__name__}", where=str(folder), mend=MEND)
    return fill_module(kind, folder, read_weights(folder), dtype, folder)


def fill_module(
    kind: type[Any], folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype, where: Path
) -> "CosmosTransformer3DModel | AutoencoderKLWan":
    """As `load_module`, but the config.json in `folder` is filled with `tensors`, which come from `where`."""
    config = read_json(folder / "config.json")
    model = _empty(kind, config, folder)
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    refuse(find_faults(expected, {name: tuple(t.shape) for name, t in tensors.items()}), where)
    refuse(find_unreal(tensors), where)
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    return model.eval().requires_grad_(False)


def _empty(kind: type[Any], config: dict[str, Any], folder: Path) -> Any:
    """The module of a config, without memory. Raises BaseError when the config makes none."""
    refuse_endless(config, folder)
    with OneLine(f"config.json makes no {kind.__name__}", folder), torch.device("meta"):
        return kind.from_config(config)


def find_faults(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """Every tensor that is missing, unknown or of another shape, in words."""
    faults = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    faults += [f"{name} is unknown" for name in sorted(found.keys() - expected.keys())]
    wrong = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    return faults + [f"{name} is {found[name]}, not {expected[name]}" for name in wrong]


def find_unreal(tensors: Mapping[str, Tensor]) -> list[str]:
    """Every tensor of whole or complex numbers, in words: they are of a quantised model, which needs more than them."""
    return [f"{name} is of {t.dtype}, not of real numbers" for name, t in tensors.items() if not t.is_floating_point()]


def refuse(faults: list[str], folder: Path) -> None:
    """Raises BaseError when there are faults, and lists them; of a great many the first ones."""
    if faults:
        more = f"; and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        listed = "; ".join(faults[:LISTED])
        raise BaseError(f"{len(faults)} tensors do not fit: {listed}{more}", where=str(folder), mend=MEND)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model's folder by its name: what is loaded is what was read here, and no other file.

    Raises BaseError when it is not clear which files are meant, one is damaged, or two hold one tensor.
    """
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        try:
            part = read_safetensors(path)
        except UserError as error:
            what = f"a weight file cannot be read: {error.what}"
            raise BaseError(what, where=error.where, mend="Copy it again.") from error
        if twice := sorted(tensors.keys() & part.keys()):
            raise BaseError(f"two files hold {twice[0]}", where=str(folder), mend="Copy the model again.")
        tensors |= part
    return tensors


def _weight_files(folder: Path) -> list[Path]:
    """The .safetensors that an index names, or the only one. Raises BaseError when there are others, or one lacks."""
    found, indices = sorted(folder.glob("*.safetensors")), sorted(folder.glob("*.safetensors.index.json"))
    named = {name for index in indices for name in _named_files(index)}
    if indices and (other := sorted(named ^ {path.name for path in found})):
        what = f"{other[0]} is {'missing' if other[0] in named else 'not in the index'}"
        raise BaseError(what, where=str(folder), mend="Copy the model again.")
    if not indices and len(found) > 1:
        what = f"{found[0].name} and {found[1].name} are both there: which one is meant is not said"
        raise BaseError(what, where=str(folder), mend="Leave the weights of one model there.")
    return found


def _named_files(index: Path) -> set[str]:
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise BaseError(f"{index.name} has no weight_map", where=str(index), mend="Copy the model again.")
    return set(files.values())
