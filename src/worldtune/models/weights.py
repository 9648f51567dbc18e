"""Load modules from disk, with every tensor accounted for.

Weights must fit exactly: a base whose weights were silently skipped trains adapters on noise
(https://github.com/nvidia-cosmos/cosmos-predict2.5/issues/160).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from worldtune.core.tensors.finite import find_non_finite
from worldtune.core.tensors.read import read_safetensors
from worldtune.errors import BaseError, UserError
from worldtune.models.foreign_config import HINT, AsBaseError, check_layer_counts
from worldtune.models.model_config import read_config

if TYPE_CHECKING:  # reading a config must not import diffusers
    from diffusers import AutoencoderKLWan, CosmosTransformer3DModel

Shape = tuple[int, ...]
LISTED = 20  # faults in an error message


def load_module(kind: type[Any], folder: Path, dtype: torch.dtype) -> "CosmosTransformer3DModel | AutoencoderKLWan":
    """Return the frozen diffusers module of class `kind` in `folder`.

    Raise BaseError if its config is missing or wrong, a tensor is missing, unknown or of another shape, or a file is
    damaged.
    """
    found = read_config(folder / "config.json").get("_class_name")
    if found != kind.__name__:
        raise BaseError(f"config.json is of a {found}, not a {kind.__name__}", where=str(folder), hint=HINT)
    return fill_module(kind, folder, read_weights(folder), dtype, folder)


def fill_module(
    kind: type[Any], folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype, where: Path
) -> "CosmosTransformer3DModel | AutoencoderKLWan":
    """Return the frozen module of the config.json in `folder` with `tensors`, which were read from `where`.

    Raise BaseError as `load_module` does.
    """
    config = read_config(folder / "config.json")
    model = _empty(kind, config, folder)
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    raise_first_fault(find_faults(expected, {name: tuple(t.shape) for name, t in tensors.items()}), where)
    raise_first_fault(find_complex(tensors), where)
    raise_first_fault(find_not_finite(tensors), where)
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    return model.eval().requires_grad_(False)


def _empty(kind: type[Any], config: dict[str, Any], folder: Path) -> Any:
    """Return the module of a config on the meta device. Raise BaseError if the config is invalid."""
    check_layer_counts(config, folder)
    with AsBaseError(f"config.json is not valid for {kind.__name__}", folder), torch.device("meta"):
        return kind.from_config(config)


def find_faults(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """Return a message for every tensor that is missing, unknown or of another shape."""
    faults = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    faults += [f"{name} is unknown" for name in sorted(found.keys() - expected.keys())]
    wrong = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    return faults + [f"{name} is {found[name]}, not {expected[name]}" for name in wrong]


def find_complex(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return a message for every integer or complex tensor, as in a quantized model, which needs more than tensors."""
    return [
        f"{name} has type {t.dtype}, not floating point" for name, t in tensors.items() if not t.is_floating_point()
    ]


def find_not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return a message for every tensor that contains NaN or infinity."""
    return [f"{name} contains NaN or infinity" for name in find_non_finite(tensors)]


def raise_first_fault(faults: list[str], folder: Path) -> None:
    """Raise BaseError with the first faults if there are any."""
    if faults:
        more = f"; and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        listed = "; ".join(faults[:LISTED])
        raise BaseError(f"{len(faults)} tensors do not fit: {listed}{more}", where=str(folder), hint=HINT)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return every tensor of a model's folder by name; no other file is loaded later.

    Raise BaseError if the choice of files is ambiguous, a file is damaged, or two files hold the same tensor.
    """
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        try:
            part = read_safetensors(path)
        except UserError as error:
            what = f"a weight file cannot be read: {error.what}"
            raise BaseError(what, where=error.where, hint="Copy it again.") from error
        if twice := sorted(tensors.keys() & part.keys()):
            raise BaseError(f"two files hold {twice[0]}", where=str(folder), hint="Copy the model again.")
        tensors |= part
    return tensors


def _weight_files(folder: Path) -> list[Path]:
    """Return the .safetensors files of an index, or the only one. Raise BaseError for additional or missing files."""
    found, indices = sorted(folder.glob("*.safetensors")), sorted(folder.glob("*.safetensors.index.json"))
    named = {name for index in indices for name in _named_files(index)}
    if indices and (wrong := sorted(named ^ {path.name for path in found})):
        what = f"{wrong[0]} is {'missing' if wrong[0] in named else 'not in the index'}"
        raise BaseError(what, where=str(folder), hint="Copy the model again.")
    if not indices and len(found) > 1:
        what = f"the folder has both {found[0].name} and {found[1].name}, and no index"
        raise BaseError(what, where=str(folder), hint="Keep the weights of one model.")
    return found


def _named_files(index: Path) -> set[str]:
    files = read_config(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise BaseError(f"{index.name} has no weight_map", where=str(index), hint="Copy the model again.")
    return set(files.values())
