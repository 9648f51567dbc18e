"""An adapter format, and the random denoiser that all formats adapt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from worldtune.adapters.formats import Alpha

TARGETS = ["attn1.to_q", "attn1.to_out.0", "ff.net.2"]
MODULES = tuple(f"transformer_blocks.{block}.{linear}" for block in (0, 1) for linear in TARGETS)
RANK = 4
STEP = 0.05  # distance of a library's trained adapter from its initialization
SIZE = 0.1  # scale of the factors of a trainer's adapter


@dataclass(frozen=True)
class WrittenAdapter:
    """A written adapter, and the base's weights after its own tool's merge, in fp32 by diffusers' names.

    `refused` is the text that the error must contain if a LoRA or DoRA cannot hold the format. `alpha` is the user's.
    """

    path: Path
    expected: Mapping[str, Tensor]
    alpha: Alpha | None = None
    refused: str | None = None


@dataclass(frozen=True)
class AdapterFormat:
    """A format's name, the tool whose merge it is compared with, and the function that writes it into a folder."""

    name: str
    oracle: str
    write: Callable[[Path], WrittenAdapter]


def denoiser() -> CosmosTransformer3DModel:
    """Return a small random denoiser in fp32, always the same, with weights that are exact in bfloat16."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CosmosTransformer3DModel(
            in_channels=17, out_channels=16, num_attention_heads=4, attention_head_dim=16, num_layers=2, mlp_ratio=2.0,
            text_embed_dim=32, adaln_lora_dim=16, max_size=(4, 16, 16), patch_size=(1, 2, 2),
            encoder_hidden_states_channels=32, use_crossattn_projection=True, crossattn_proj_in_channels=32,
        )  # fmt: skip
    return model.bfloat16().float()


@cache
def base_weights() -> Mapping[str, Tensor]:
    """Return the denoiser's weights, in fp32."""
    return {name: tensor.detach().clone() for name, tensor in denoiser().state_dict().items()}


def perturb(parameters: Mapping[str, Tensor]) -> None:
    """Change every parameter a little, as training would, always in the same way."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(STEP * torch.randn(parameter.shape, generator=generator))


def factors(module: str, rank: int = RANK) -> tuple[Tensor, Tensor]:
    """Return random A (R, I) and B (O, R) for a module."""
    outputs, inputs = base_weights()[f"{module}.weight"].shape
    generator = torch.Generator().manual_seed(sum(module.encode()))
    a_RI, b_OR = torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)
    return SIZE * a_RI, SIZE * b_OR
