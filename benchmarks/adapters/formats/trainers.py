"""Adapters in the formats of other trainers, with the documented formula of each, computed independently here.

Formulas: LoRA, W + alpha/rank · up @ down (github.com/kohya-ss/sd-scripts `networks/lora.py`); DoRA of LyCORIS,
dora_scale · W' / ‖W'‖, over inputs or, with `wd_on_output`, over outputs (github.com/KohakuBlueleaf/LyCORIS
`lycoris/modules/locon.py`, `apply_weight_decompose`).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.adapters.formats.adapter_format import (
    MODULES,
    RANK,
    AdapterFormat,
    WrittenAdapter,
    base_weights,
    factors,
)

ALPHA = 6.0
RANKS = "ranks 2 and 4"
NVIDIA = {"attn1.to_q": "self_attn.q_proj", "attn1.to_out.0": "self_attn.output_proj", "ff.net.2": "mlp.layer2"}
UNETS = ("lora_unet_", "lora_unet__", "lycoris_", "lora_transformer_")
OTHERS = {
    "LoKr": ("lokr_w1", "lokr_w2_a", "lokr_w2_b"),
    "LoHa": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    "GLoRA": ("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
    "OFT": ("oft_blocks",),
    "(IA)³": ("weight", "on_input"),
    "diff": ("diff",),
}


def adapter_formats() -> Iterator[AdapterFormat]:
    """Yield every format of the trainers."""
    for prefix in UNETS:
        yield _format(f"Kohya, {prefix}", partial(_kohya_name, prefix, nvidia=True))
        yield _format(f"Kohya, {prefix} and diffusers' names", partial(_kohya_name, prefix, nvidia=False))
    yield _format("ComfyUI", lambda module: f"diffusion_model.{_nvidia_name(module)}")
    yield _format("diffusers' old names", lambda module: f"transformer.{module}", ("lora.down", "lora.up"))
    finetrainers = json.dumps({"r": RANK, "lora_alpha": 6, "target_modules": "to_q"})
    headers = {
        "ss_network_alpha": {"ss_network_alpha": "6.0", "ss_network_dim": str(RANK)},
        "network_alpha": {"network_alpha": "6"},
        "lora_alpha": {"lora_alpha": "6", "lora_rank": str(RANK)},
        "lora_config (finetrainers)": {"lora_config": finetrainers},
    }
    for name, header in headers.items():
        yield AdapterFormat(f"header, {name}", "formula", partial(_write_lora, header=header, with_alpha=False))
    yield AdapterFormat("config next to the named file (diffusion-pipe)", "formula", _write_diffusion_pipe)
    yield AdapterFormat("NVIDIA's checkpoint, --alpha rank", "formula", partial(_write_nvidia, whole=False))
    yield AdapterFormat("NVIDIA's whole checkpoint, --alpha rank", "formula", partial(_write_nvidia, whole=True))
    yield AdapterFormat("ranks 4 and 2, no alpha, --alpha rank", "formula", partial(_write_mixed_ranks, alpha="rank"))
    yield AdapterFormat("ranks 4 and 2, --alpha 4", "formula", partial(_write_mixed_ranks, alpha=4.0, refused=RANKS))
    yield AdapterFormat(
        "ranks 4 and 2, one alpha in the header", "formula", partial(_write_mixed_ranks, header="4", refused=RANKS)
    )
    yield AdapterFormat("LyCORIS DoRA over inputs", "formula", partial(_write_dora, dim=0))
    yield AdapterFormat("LyCORIS DoRA over outputs", "formula", partial(_write_dora, dim=1))
    for name, parts in OTHERS.items():
        yield AdapterFormat(f"LyCORIS, {name}", "formula", partial(_write_other, parts=parts, refused=name.split()[0]))


def _format(
    name: str, module_name: Callable[[str], str], parts: tuple[str, str] = ("lora_down", "lora_up")
) -> AdapterFormat:
    return AdapterFormat(name, "formula", partial(_write_lora, module_name=module_name, parts=parts))


def _kohya_name(prefix: str, module: str, nvidia: bool) -> str:
    return prefix + _flatten(_nvidia_name(module) if nvidia else module)


def _flatten(module: str) -> str:
    return module.replace(".", "_")


def _nvidia_name(module: str) -> str:
    _, block, linear = module.split(".", 2)
    return f"blocks.{block}.{NVIDIA[linear]}"


def _diffusers_name(module: str) -> str:
    return f"transformer.{module}"


def _add_delta(alpha: float | None, ranks: Mapping[str, int] = {}) -> dict[str, Tensor]:
    """Return the base's weights with the LoRA formula applied; None means alpha = rank."""
    weights = dict(base_weights())
    for module in MODULES:
        down, up = factors(module, ranks.get(module, RANK))
        weights[f"{module}.weight"] = weights[f"{module}.weight"] + (alpha or len(down)) / len(down) * up @ down
    return weights


def _write_lora(
    folder: Path,
    module_name: Callable[[str], str] = _diffusers_name,
    parts: tuple[str, str] = ("lora_A", "lora_B"),
    header: Mapping[str, str] | None = None,
    with_alpha: bool = True,
) -> WrittenAdapter:
    tensors: dict[str, Tensor] = {}
    for module in MODULES:
        for part, factor in zip(parts, factors(module), strict=True):
            tensors[f"{module_name(module)}.{part}.weight"] = factor
        if with_alpha:
            tensors[f"{module_name(module)}.alpha"] = torch.tensor(ALPHA)
    save_file(tensors, folder / "adapter.safetensors", metadata=dict(header) if header else None)
    return WrittenAdapter(folder / "adapter.safetensors", _add_delta(ALPHA))


def _write_diffusion_pipe(folder: Path) -> WrittenAdapter:
    written = _write_lora(folder, lambda module: f"diffusion_model.{_nvidia_name(module)}", with_alpha=False)
    path = written.path.replace(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}))
    return WrittenAdapter(path, written.expected)


def _write_nvidia(folder: Path, whole: bool) -> WrittenAdapter:
    tensors = {}
    for module in MODULES:
        for part, factor in zip(("lora_A", "lora_B"), factors(module), strict=True):
            tensors[f"net.{_nvidia_name(module)}.{part}.default.weight"] = factor
        if whole:
            weight = base_weights()[f"{module}.weight"]
            tensors[f"net.{_nvidia_name(module)}.base_layer.weight"] = weight.bfloat16()
    torch.save(tensors, folder / "model.pt")
    return WrittenAdapter(folder / "model.pt", _add_delta(None), alpha="rank")


def _write_mixed_ranks(
    folder: Path, alpha: float | str | None = None, header: str | None = None, refused: str | None = None
) -> WrittenAdapter:
    ranks = {module: 2 for module in MODULES if module.endswith("ff.net.2")}
    tensors = {
        f"transformer.{module}.{part}.weight": factor
        for module in MODULES
        for part, factor in zip(("lora_A", "lora_B"), factors(module, ranks.get(module, RANK)), strict=True)
    }
    metadata = {"network_alpha": header} if header else None
    save_file(tensors, folder / "adapter.safetensors", metadata=metadata)
    return WrittenAdapter(folder / "adapter.safetensors", _add_delta(None, ranks), alpha=alpha, refused=refused)  # type: ignore[arg-type]


def _write_dora(folder: Path, dim: int) -> WrittenAdapter:
    """Write a LyCORIS DoRA: `dim` 0 is over inputs with dora_scale (1, I), 1 over outputs with (O, 1)."""
    weights = _add_delta(ALPHA)
    tensors: dict[str, Tensor] = {}
    for module in MODULES:
        down, up = factors(module)
        scale = 1.05 * base_weights()[f"{module}.weight"].norm(dim=dim, keepdim=True)
        parts = {"lora_down.weight": down, "lora_up.weight": up, "dora_scale": scale, "alpha": torch.tensor(ALPHA)}
        tensors |= {f"lycoris_{_flatten(_nvidia_name(module))}.{part}": tensor for part, tensor in parts.items()}
        changed = weights[f"{module}.weight"]
        weights[f"{module}.weight"] = scale * changed / changed.norm(dim=dim, keepdim=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter.safetensors")
    return WrittenAdapter(folder / "adapter.safetensors", weights)


def _write_other(folder: Path, parts: tuple[str, ...], refused: str) -> WrittenAdapter:
    tensors = {
        f"lycoris_{_flatten(_nvidia_name(module))}.{part}": torch.ones(4, 4) for module in MODULES for part in parts
    }
    save_file(tensors, folder / "adapter.safetensors")
    return WrittenAdapter(folder / "adapter.safetensors", {}, alpha="rank", refused=refused)
