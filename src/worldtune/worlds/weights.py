"""Modules from disk, every tensor accounted for.

Nothing is loaded that does not fit exactly: a base whose weights were silently left out trains adapters on
noise (https://github.com/nvidia-cosmos/cosmos-predict2.5/issues/160).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldtune.errors import BaseError

Shape = tuple[int, ...]
MEND = "Use the weights and config.json of one and the same model."


def load_module(kind: type[Any], folder: Path, dtype: torch.dtype) -> CosmosTransformer3DModel | AutoencoderKLWan:
    """The diffusers module of class `kind` in `folder`, frozen.

    Raises BaseError when its config or a tensor is missing, unknown or of another shape, or a file damaged.
    """
    config = read_json(folder / "config.json")
    if config.get("_class_name") != kind.__name__:
        raise BaseError(f"this is a {config.get('_class_name')}, not a {kind.__name__}", where=str(folder), mend=MEND)
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in kind.from_config(config).state_dict().items()}
    refuse(find_faults(expected, _shapes_on_disk(folder)), folder)
    return kind.from_pretrained(folder, dtype=dtype).eval().requires_grad_(False)


def fill_module(
    kind: type[Any], folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype, where: Path
) -> CosmosTransformer3DModel | AutoencoderKLWan:
    """As `load_module`, but the config.json in `folder` is filled with `tensors`, which come from `where`."""
    config = read_json(folder / "config.json")
    with torch.device("meta"):
        model = kind.from_config(config)
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    refuse(find_faults(expected, {name: tuple(t.shape) for name, t in tensors.items()}), where)
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    return model.eval().requires_grad_(False)


def find_faults(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """Every tensor that is missing, unknown or of another shape, in words."""
    faults = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    faults += [f"{name} is unknown" for name in sorted(found.keys() - expected.keys())]
    wrong = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    return faults + [f"{name} is {found[name]}, not {expected[name]}" for name in wrong]


def refuse(faults: list[str], folder: Path) -> None:
    """Raises BaseError when there are faults, and names the first of them."""
    if faults:
        more = f"; {'; '.join(faults[1:3])}" if len(faults) > 1 else ""
        raise BaseError(f"{len(faults)} tensors do not fit: {faults[0]}{more}", where=str(folder), mend=MEND)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises BaseError when it is missing or none."""
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise BaseError(f"{path.name} cannot be read", where=str(path), mend="Copy the model again.") from error
    if not isinstance(data, dict):
        raise BaseError(f"{path.name} is no JSON object", where=str(path), mend="Copy the model again.")
    return data


def _shapes_on_disk(folder: Path) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise BaseError(f"a weight file cannot be read: {error}", where=str(path), mend="Copy it again.") from error
    return shapes
