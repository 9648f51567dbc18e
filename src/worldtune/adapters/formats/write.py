"""Name an adapter's tensors for a tool, and report what the tool cannot represent."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from worldtune.adapters.formats.names import Format, name_in
from worldtune.adapters.layers.low_rank import LowRank
from worldtune.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor


def name_layers(layers: Mapping[str, LowRank], to: Format) -> "dict[str, Tensor]":
    """Return every tensor of the adapter by a tool's names.

    NVIDIA's format has no alpha: it is merged into B, so that alpha = rank. Raise AdapterError for a DoRA over inputs
    if the tool supports only DoRA over outputs.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for module, layer in layers.items():
        name = name_in(module, to)
        scale = layer.scale if to == "nvidia" else 1.0
        a, b = {"nvidia": ("lora_A.default", "lora_B.default")}.get(
            to, ("lora_down", "lora_up") if to in ("comfyui", "kohya") else ("lora_A", "lora_B")
        )
        tensors[f"{name}.{a}.weight"] = layer.a_RI
        tensors[f"{name}.{b}.weight"] = layer.b_OR if scale == 1 else layer.b_OR * scale
        if to in ("comfyui", "kohya"):
            tensors[f"{name}.alpha"] = torch.tensor(layer.alpha)  # fp32, whatever the type of the factors
        tensors |= _magnitudes(name, module, layer, to)
    return tensors


def _magnitudes(name: str, module: str, layer: LowRank, to: Format) -> "dict[str, Tensor]":
    if to in ("comfyui", "kohya"):
        if layer.magnitude_I is not None:
            return {f"{name}.dora_scale": layer.magnitude_I[None, :]}
        return {} if layer.magnitude_O is None else {f"{name}.dora_scale": layer.magnitude_O[:, None]}
    if layer.magnitude_I is not None:
        what = f"{module} is a DoRA over inputs (LyCORIS), which {to} cannot represent"
        raise AdapterError(what, where=f"--to {to}", hint="Convert it to comfyui or kohya, or merge it into its base.")
    ending = ".default.weight" if to == "nvidia" else ""
    return {} if layer.magnitude_O is None else {f"{name}.lora_magnitude_vector{ending}": layer.magnitude_O}


def ignored_by(to: Format, names: Iterable[str]) -> list[str]:
    """Return the adapter's tensors that the tool silently ignores, according to its source code.

    Predict 2.5 before `use_dora`, and sd-scripts, ignore magnitudes; ComfyUI, PEFT and diffusers read every tensor.
    """
    ending = {"nvidia": ".lora_magnitude_vector.default.weight", "kohya": ".dora_scale"}.get(to)
    return [name for name in names if ending and name.endswith(ending)]


def notes_for(layers: Mapping[str, LowRank], to: Format) -> list[str]:
    """Return notes on differences of the adapter in the target tool."""
    notes = []
    dora, over_outputs = (any(getattr(layer, name) is not None for layer in layers.values()) for name in _AXES)
    dora = dora or over_outputs
    if to == "nvidia" and any(layer.scale != 1 for layer in layers.values()):
        notes.append("NVIDIA's format has no alpha: it is merged into B; train and load with alpha = rank")
    if to == "nvidia" and dora:
        notes.append("Predict 2.5 before its use_dora option ignores lora_magnitude_vector: the DoRA would be a LoRA")
    if to == "kohya" and dora:
        notes.append("sd-scripts ignores dora_scale: the DoRA would be a LoRA; LyCORIS reads it")
    if to == "comfyui" and over_outputs:
        notes.append(
            "ComfyUI divides dora_scale by the norm of the base weight, not of the changed one: output differs"
        )
    return notes


_AXES = ("magnitude_I", "magnitude_O")


def config_of(layers: Mapping[str, LowRank]) -> dict[str, Any]:
    """Return peft's LoraConfig of an adapter: the most common rank and alpha, and patterns for the others.

    Raise AdapterError for a DoRA on some modules and a LoRA on others, as use_dora applies to all.
    """
    from peft import LoraConfig

    if len({layer.is_dora for layer in layers.values()}) > 1:
        what = "it is a DoRA on some modules and a LoRA on others, and PEFT supports only one for all"
        raise AdapterError(what, where="--to", hint="Convert it to comfyui or kohya, or merge it into its base.")

    ranks, alphas = [layer.rank for layer in layers.values()], [layer.alpha for layer in layers.values()]
    rank, alpha = _most_common(ranks), _most_common(alphas)
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


def _most_common(values: Iterable[Any]) -> Any:
    values = list(values)
    return max(sorted(set(values)), key=values.count)
