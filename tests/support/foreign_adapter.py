"""A LoRA as another trainer writes it: one file with diffusers' names and without alpha."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SPOILT = "transformer_blocks.1.attn1.to_v"


def write_foreign(
    path: Path,
    base: Path,
    *,
    blocks: int = 1000,
    ranks: tuple[int, ...] = (4,),
    zero: bool = False,
    spoilt: bool = False,
) -> Path:
    """Write a LoRA for the first `blocks` blocks of a base's folder; the layers cycle through `ranks`.

    With `zero`, every B is zero. With `spoilt`, the B of one module is NaN.
    """
    draw, tensors = torch.Generator().manual_seed(0), {}
    weights = load_file(base / "transformer" / "diffusion_pytorch_model.safetensors")
    names = [name for name in sorted(weights) if name.startswith("transformer_blocks.") and ".attn1.to_" in name]
    names = [name for name in names if name.endswith(".weight") and int(name.split(".")[1]) < blocks]
    for number, name in enumerate(names):
        (outputs, inputs), module, rank = weights[name].shape, name.removesuffix(".weight"), ranks[number % len(ranks)]
        b_OR = torch.randn(outputs, rank, generator=draw) * (0 if zero else 0.1)
        if spoilt and module == SPOILT:
            b_OR[:] = float("nan")
        tensors[f"transformer.{module}.lora_A.weight"] = torch.randn(rank, inputs, generator=draw) * 0.1
        tensors[f"transformer.{module}.lora_B.weight"] = b_OR
    save_file(tensors, path)
    return path
