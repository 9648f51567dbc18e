"""Metadata of an adapter file: PEFT's configuration, or one alpha in a safetensors header.

The header keys are those of diffusers (`lora_adapter_metadata`), github.com/huggingface/finetrainers (`lora_config`),
github.com/kohya-ss/sd-scripts, musubi-tuner and LyCORIS (`ss_network_alpha` with `ss_network_dim`), and smaller
trainers (`lora_alpha`, `network_alpha`). PEFT and diffusion-pipe write `adapter_config.json` next to the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from typing import Any

from safetensors import safe_open

from worldtune.adapters.formats.alpha import HeaderAlpha
from worldtune.core.strict_io import parse_json, read_json
from worldtune.core.tensors.read import PICKLE_SUFFIXES
from worldtune.errors import AdapterError

METADATA = "lora_adapter_metadata"
CONFIG = "adapter_config.json"
_JSON_KEYS = (METADATA, "lora_config", "peft_config", "adapter_config")
_SYNONYMS = {"rank": "r", "lora_rank": "r", "alpha": "lora_alpha"}
_ALPHAS = ("ss_network_alpha", "network_alpha", "lora_alpha", "alpha")
_RANKS = ("ss_network_dim", "ss_network_rank", "network_dim", "network_rank", "lora_rank", "rank", "r")
_AGAIN = "Copy it again."


@dataclass(frozen=True)
class Stated:
    """The metadata of a file: PEFT's configuration, which may be empty, and one alpha for the whole file, if stated."""

    config: Mapping[str, Any] = field(default_factory=dict)
    alpha: HeaderAlpha | None = None


def stated_by(path: Path) -> Stated:
    """Return the metadata of a file or folder. Raise AdapterError for an invalid configuration."""
    if (config := _config_beside(path)) is not None:
        return Stated(_object(read_json(config, error=AdapterError, hint=_AGAIN), config))
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        if file.suffix == ".safetensors":
            with safe_open(file, "np") as opened:
                metadata = opened.metadata() or {}
            stated = Stated(stated_in(metadata, file) or {}, _one_alpha(metadata, file))
            if stated.config or stated.alpha:
                return stated
    return Stated()


def header_config(file: Path) -> dict[str, Any] | None:
    """Return PEFT's configuration in a safetensors header by the denoiser's names, None if there is none."""
    with safe_open(file, "np") as opened:
        return stated_in(opened.metadata() or {}, file)


def stated_in(metadata: Mapping[str, str], file: Path) -> dict[str, Any] | None:
    """Return PEFT's configuration in the metadata of a header, like `header_config`."""
    key = next((key for key in _JSON_KEYS if metadata.get(key)), None)
    if key is None:
        return None
    stated = _object(parse_json(metadata[key], f"{file}, {key}", error=AdapterError, hint=_AGAIN), file)
    config = {name.removeprefix("transformer."): value for name, value in stated.items()}
    if len(config) < len(stated):
        what = f"{key} has a key both with and without 'transformer.'"
        raise AdapterError(what, where=str(file), hint=_AGAIN)
    if key == METADATA:
        return config
    return {_SYNONYMS.get(name, name): value for name, value in config.items()}


def _config_beside(path: Path) -> Path | None:
    """Return PEFT's configuration of a folder, or of a weight file that is PEFT's or the only one in its folder."""
    folder = path if path.is_dir() else path.parent
    config = folder / CONFIG
    if not config.is_file():
        return None
    if path.is_dir() or path.stem == "adapter_model":
        return config
    weights = [file for file in folder.iterdir() if file.suffix in {".safetensors", *PICKLE_SUFFIXES}]
    return config if len(weights) == 1 else None


def _one_alpha(metadata: Mapping[str, str], file: Path) -> HeaderAlpha | None:
    """Return the alpha that a header states as a number; sd-scripts writes "Dynamic" or "None" instead if it varies.

    Raise AdapterError if the header states two different ones.
    """
    found = {key: number for key in _ALPHAS if (number := _number(metadata.get(key))) is not None}
    if len(set(found.values())) > 1:
        what = f"its header states two alphas: {', '.join(f'{key} = {value:g}' for key, value in found.items())}"
        raise AdapterError(what, where=str(file), hint="Use a file whose header states one alpha.")
    if not found:
        return None
    key, alpha = next(iter(found.items()))
    ranks = [number for name in _RANKS if (number := _number(metadata.get(name))) is not None]
    return HeaderAlpha(alpha, key, int(ranks[0]) if ranks and ranks[0] == int(ranks[0]) else None)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else nan
    except ValueError:
        return None
    return number if isfinite(number) else None


def _object(config: Any, where: Path) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise AdapterError("its configuration is not a JSON object", where=str(where), hint=_AGAIN)
    return config
