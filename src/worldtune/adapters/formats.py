"""Adapters in every tool's names: diffusers, PEFT, NVIDIA's checkpoints, ComfyUI, Kohya.

Inside, a module is called as in diffusers. Sources: diffusers `loaders/lora_conversion_utils.py`, peft
`utils/save_and_load.py`, github.com/nvidia-cosmos/cosmos-predict2.5 (`lora_A.default`),
github.com/comfyanonymous/ComfyUI (`comfy/lora.py`, `comfy/weight_adapter/lora.py`), github.com/kohya-ss/sd-scripts
(`lora_unet_` names).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import Tensor

from worldtune.adapters.low_rank import LowRank
from worldtune.adapters.peft_config import PeftConfig, check_config
from worldtune.adapters.targets import OUTSIDE
from worldtune.core.ranges import LARGEST_ALPHA
from worldtune.core.strict_io import parse_json, read_json
from worldtune.errors import AdapterError
from worldtune.tensor_files import read_tensors
from worldtune.tensor_names import block_modules, rename

Format = Literal["diffusers", "peft", "nvidia", "comfyui", "kohya"]
METADATA = "lora_adapter_metadata"
WHOLE = (torch.int64, torch.int32)  # as some tools write alpha
LONGEST_NAME = 512  # characters of a tensor's name
_PREFIXES = {"diffusers": "transformer.", "peft": "base_model.model.", "nvidia": "net.", "comfyui": "diffusion_model."}
_PARTS = (
    ("a", re.compile(r"\.(lora_A(\.default)?|lora\.down|lora_down)\.weight$")),
    ("b", re.compile(r"\.(lora_B(\.default)?|lora\.up|lora_up)\.weight$")),
    ("magnitude", re.compile(r"\.(lora_magnitude_vector(\.default)?(\.weight)?|dora_scale)$")),
    ("alpha", re.compile(r"\.alpha$")),
)
_KOHYA = re.compile(r"^lora_unet_(?:blocks_(\d+)_)?(.+)$")
_NO_WEIGHT = re.compile(r"_extra_state$|^(net\.)?(accum_|pos_embedder\.)")
_OWN_WEIGHT = re.compile(r"^(?!.*\.lora_)(.+?)(\.base_layer)?\.(weight|bias)$")


@dataclass(frozen=True)
class ForeignAdapter:
    """An adapter by diffusers' module names, and what else its file held, with the reason why it is left out."""

    layers: dict[str, LowRank]
    left_out: dict[str, str]


def read_layers(path: Path, alpha: float | None = None) -> ForeignAdapter:
    """The adapter of a file or folder in any of the formats.

    `alpha` is taken where the file states none. Raises AdapterError when there is no adapter in it, a tensor is
    neither of a LoRA or DoRA nor the base's own, half of a layer is missing, or alpha is stated nowhere.
    """
    return layers_from(read_tensors(path), _config(path), path, alpha)


def layers_from(
    tensors: Mapping[str, Tensor], stated: Mapping[str, Any], path: Path, alpha: float | None = None
) -> ForeignAdapter:
    """The adapter that tensors are, by the configuration that is stated of them; as `read_layers` of `path`."""
    parts: dict[str, dict[str, Tensor]] = {}
    left_out: dict[str, str] = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        if len(name) > LONGEST_NAME:
            raise AdapterError(f"a tensor's name has {len(name)} characters", where=str(path), mend="Copy it again.")
        kind = next((kind for kind, pattern in _PARTS if pattern.search(name)), None)
        if name.startswith("net_ema."):
            left_out[name] = "the moving average of the weights"
            continue
        if kind is None and _of_the_base(name):
            left_out[name] = "the base's own"
            continue
        if kind is None:
            unknown.append(name)
            continue
        module = _module(name[: dict(_PARTS)[kind].search(name).start()])  # type: ignore[union-attr]
        if module is None:
            unknown.append(name)
        else:
            parts.setdefault(module, {})[kind] = tensor
    if not parts:
        raise AdapterError("there is no adapter in it", where=str(path), mend="Name a LoRA's or DoRA's weights.")
    if unknown:
        what = f"{len(unknown)} tensors are of no LoRA or DoRA of a Cosmos denoiser, first: {unknown[0]}"
        raise AdapterError(what, where=str(path), mend="Give an adapter of Predict 2 or 2.5.")
    config = check_config(dict(stated), str(path))
    layers = {module: _layer(module, its, config, alpha, path) for module, its in sorted(parts.items())}
    if config.use_dora and (bare := [name for name, layer in layers.items() if layer.magnitude_O is None]):
        raise AdapterError(f"the DoRA lacks the magnitude of {bare[0]}", where=str(path), mend="Export it again.")
    return ForeignAdapter(layers, left_out)


def name_layers(layers: Mapping[str, LowRank], to: Format) -> dict[str, Tensor]:
    """Every tensor of the adapter in a tool's names.

    NVIDIA's names have no place for alpha: there it is worked into B, so that alpha = rank holds.
    """
    tensors: dict[str, Tensor] = {}
    for module, layer in layers.items():
        name = _named(module, to)
        scale = layer.scale if to == "nvidia" else 1.0
        a, b = {"nvidia": ("lora_A.default", "lora_B.default")}.get(
            to, ("lora_down", "lora_up") if to in ("comfyui", "kohya") else ("lora_A", "lora_B")
        )
        tensors[f"{name}.{a}.weight"] = layer.a_RI
        tensors[f"{name}.{b}.weight"] = layer.b_OR if scale == 1 else layer.b_OR * scale
        if to in ("comfyui", "kohya"):
            tensors[f"{name}.alpha"] = torch.tensor(layer.alpha)  # fp32, whatever the factors are
        if layer.magnitude_O is not None:
            ending = {"nvidia": "lora_magnitude_vector.default.weight", "comfyui": "dora_scale", "kohya": "dora_scale"}
            column = layer.magnitude_O[:, None] if to in ("comfyui", "kohya") else layer.magnitude_O
            tensors[f"{name}.{ending.get(to, 'lora_magnitude_vector')}"] = column
    return tensors


def ignored_by(to: Format, names: Iterable[str]) -> list[str]:
    """Which of an adapter's tensors the tool passes over in silence, as far as its source says.

    Predict 2.5 before `use_dora`, and sd-scripts, know no magnitudes; ComfyUI, PEFT and diffusers read all of theirs.
    """
    ending = {"nvidia": ".lora_magnitude_vector.default.weight", "kohya": ".dora_scale"}.get(to)
    return [name for name in names if ending and name.endswith(ending)]


def config_of(layers: Mapping[str, LowRank]) -> dict[str, Any]:
    """peft's LoraConfig of an adapter, as a dictionary: the commonest rank and alpha, and patterns for the others."""
    from peft import LoraConfig

    ranks, alphas = [layer.rank for layer in layers.values()], [layer.alpha for layer in layers.values()]
    rank, alpha = _commonest(ranks), _commonest(alphas)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=sorted(layers),
        use_dora=any(layer.magnitude_O is not None for layer in layers.values()),
        rank_pattern={name: layer.rank for name, layer in layers.items() if layer.rank != rank},
        alpha_pattern={name: layer.alpha for name, layer in layers.items() if layer.alpha != alpha},
        lora_dropout=0.0,
        bias="none",
    ).to_dict()
    return config | {"target_modules": sorted(layers)}


def _commonest(values: Iterable[Any]) -> Any:
    values = list(values)
    return max(sorted(set(values)), key=values.count)


def _of_the_base(name: str) -> bool:
    """Whether a tensor is the denoiser's own, or none of its weights at all."""
    own = _OWN_WEIGHT.match(name)
    return bool(_NO_WEIGHT.search(name)) or (own is not None and _module(own[1]) is not None)


def _module(name: str) -> str | None:
    """diffusers' name of a module, from any tool's; None when it is none."""
    if match := _KOHYA.match(name):
        modules = block_modules("nvidia") if match[1] else map(_nvidia, OUTSIDE)
        known = {module.replace(".", "_"): module for module in modules}
        name = (f"blocks.{match[1]}." if match[1] else "") + known.get(match[2], match[2])
    changed = True
    while changed:
        changed = False
        for prefix in (*_PREFIXES.values(), "unet."):
            if name.startswith(prefix):
                name, changed = name.removeprefix(prefix), True
    if name.startswith("transformer_blocks.") or rename(f"{name}.weight", "nvidia"):
        return name if rename(f"{name}.weight", "nvidia") else None
    new = rename(f"{name}.weight", "diffusers")
    return new and new.removesuffix(".weight")


def _named(module: str, to: Format) -> str:
    if to in ("diffusers", "peft"):
        return _PREFIXES[to] + module
    return f"lora_unet_{_nvidia(module).replace('.', '_')}" if to == "kohya" else _PREFIXES[to] + _nvidia(module)


def _nvidia(module: str) -> str:
    name = rename(f"{module}.weight", "nvidia")
    assert name is not None
    return name.removesuffix(".weight")


def _config(path: Path) -> dict[str, Any]:
    """peft's configuration, from the header of a safetensors file or from adapter_config.json; empty without."""
    beside = path / "adapter_config.json"
    if beside.is_file():
        return _object(read_json(beside, error=AdapterError, mend="Copy it again."), beside)
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        if file.suffix == ".safetensors" and (stated := header_config(file)) is not None:
            return stated
    return {}


def header_config(file: Path) -> dict[str, Any] | None:
    """peft's configuration in a safetensors header, by the denoiser's own names; None without."""
    with safe_open(file, "pt") as opened:
        return stated_in(opened.metadata() or {}, file)


def stated_in(metadata: Mapping[str, str], file: Path) -> dict[str, Any] | None:
    """peft's configuration in the metadata of a header, as `header_config`."""
    text = metadata.get(METADATA)
    if not text:
        return None
    stated = _object(parse_json(text, f"{file}, {METADATA}", error=AdapterError, mend="Copy it again."), file)
    config = {key.removeprefix("transformer."): value for key, value in stated.items()}
    if len(config) < len(stated):
        what = f"{METADATA} states a key with and without 'transformer.'"
        raise AdapterError(what, where=str(file), mend="Copy it again.")
    return config


def _object(config: Any, where: Path) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise AdapterError("its configuration is no JSON object", where=str(where), mend="Copy it again.")
    return config


def _layer(module: str, parts: dict[str, Tensor], config: PeftConfig, alpha: float | None, path: Path) -> LowRank:
    if lacking := [name for name in ("a", "b") if name not in parts]:
        what = f"{module} has no {'down (A)' if lacking[0] == 'a' else 'up (B)'} matrix"
        raise AdapterError(what, where=str(path), mend="Copy it again.")
    real = {kind: part.is_floating_point() or (kind == "alpha" and part.dtype in WHOLE) for kind, part in parts.items()}
    if unreal := [parts[kind].dtype for kind, is_real in real.items() if not is_real]:
        what = f"{module} is of {unreal[0]}, not of real numbers"
        raise AdapterError(what, where=str(path), mend="Export it unquantised.")
    a_RI, b_OR, magnitude_O = parts["a"], parts["b"], parts.get("magnitude")
    if a_RI.ndim != 2 or b_OR.ndim != 2 or a_RI.shape[0] != b_OR.shape[1] or not a_RI.numel() * b_OR.numel():
        what = f"{module}: A {tuple(a_RI.shape)} and B {tuple(b_OR.shape)} do not fit together"
        raise AdapterError(what, where=str(path), mend="Copy it again.")
    if magnitude_O is not None:
        if magnitude_O.numel() != b_OR.shape[0]:
            what = f"{module} has {magnitude_O.numel()} magnitudes for {b_OR.shape[0]} outputs: DoRA by columns"
            raise AdapterError(what, where=str(path), mend="Only DoRA by output features is known here.")
        magnitude_O = magnitude_O.flatten()
    return LowRank(a_RI, b_OR, _alpha(module, parts, config, alpha, a_RI.shape[0], path), magnitude_O)


def _alpha(
    module: str, parts: dict[str, Tensor], config: PeftConfig, given: float | None, rank: int, path: Path
) -> float:
    if "alpha" in parts:
        return _sensible(float(parts["alpha"]) if parts["alpha"].numel() == 1 else None, module, path)
    stated = config.alpha((module, (rename(f"{module}.weight", "nvidia") or "").removesuffix(".weight")), rank)
    if stated is not None:
        return stated
    if given is None:
        raise AdapterError(
            "its alpha is stated nowhere: at a guess its strength would be wrong",
            where=str(path),
            mend="Say --alpha; NVIDIA's and diffusers' scripts train with alpha = rank.",
        )
    return _sensible(given, module, path)


def _sensible(alpha: float | None, module: str, path: Path) -> float:
    if alpha is None or not 0 < alpha <= LARGEST_ALPHA:  # NaN too
        what = f"the alpha of {module} is {'not one number' if alpha is None else alpha}"
        raise AdapterError(what, where=str(path), mend=f"It is above 0 and at most {LARGEST_ALPHA:,.0f}.")
    return alpha
