"""Names of modules in every tool, converted to and from diffusers' names.

Sources: diffusers `loaders/lora_conversion_utils.py`, peft `utils/save_and_load.py`,
github.com/nvidia-cosmos/cosmos-predict2.5 (`net.`), github.com/comfyanonymous/ComfyUI (`comfy/lora.py`),
github.com/kohya-ss/sd-scripts (`lora_unet_`), github.com/KohakuBlueleaf/LyCORIS (`lycoris_`).
"""

import re
from typing import Literal

from worldtune.adapters.targets import OUTSIDE
from worldtune.core.tensors.names import block_modules, rename_tensor

Format = Literal["diffusers", "peft", "nvidia", "comfyui", "kohya"]
PREFIXES = {"diffusers": "transformer.", "peft": "base_model.model.", "nvidia": "net.", "comfyui": "diffusion_model."}
_READ_PREFIXES = (*PREFIXES.values(), "unet.", "model.", "module.", "dit.", "pipe.")
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_BLOCK = re.compile(r"transformer_blocks\.\d+\.")
_MODULES = frozenset(block_modules("diffusers"))
_KOHYA = re.compile(
    r"^(?:lora_unet|lora_transformer|lora_dit|lycoris)_+(?:model_)?(?:diffusion_model_|net_|transformer_(?!blocks_))?"
    r"(?:(?:transformer_)?blocks_(\d+)_)?(.+)$"
)


def module_of(name: str) -> str | None:
    """Return diffusers' name for any tool's name of a module, None if the denoiser has no such module."""
    if match := _KOHYA.match(name):
        rest = match[2].replace(".", "_")
        known = _IN_BLOCK.get(rest) if match[1] else _OUTSIDE_BLOCKS.get(rest)
        return known and (f"transformer_blocks.{match[1]}.{known}" if match[1] else known)
    name = _WRAPPERS.sub("", name)
    while prefix := next((prefix for prefix in _READ_PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    if _is_module(name):
        return name
    new = (rename_tensor(f"{name}.weight", "diffusers") or "").removesuffix(".weight")
    return new if _is_module(new) else None


def name_in(module: str, to: Format) -> str:
    """Return a tool's name for a module from diffusers' name."""
    if to in ("diffusers", "peft"):
        return PREFIXES[to] + module
    nvidia = nvidia_name(module)
    return f"lora_unet_{nvidia.replace('.', '_')}" if to == "kohya" else PREFIXES[to] + nvidia


def nvidia_name(module: str) -> str:
    """Return NVIDIA's name of a module of the denoiser."""
    name = rename_tensor(f"{module}.weight", "nvidia")
    assert name is not None
    return name.removesuffix(".weight")


def _is_module(name: str) -> bool:
    block = _BLOCK.match(name)
    return name[block.end() :] in _MODULES if block else name in (*OUTSIDE, "time_embed.norm", "crossattn_proj.0")


def _underscored(modules: dict[str, str]) -> dict[str, str]:
    """Return diffusers' names by Kohya's spelling of NVIDIA's and diffusers' names."""
    pairs = [(name, module) for module, nvidia in modules.items() for name in (module, nvidia)]
    return {name.replace(".", "_"): module for name, module in pairs}


_IN_BLOCK = _underscored(dict(zip(block_modules("diffusers"), block_modules("nvidia"), strict=True)))
_OUTSIDE_BLOCKS = _underscored({module: nvidia_name(module) for module in OUTSIDE})
