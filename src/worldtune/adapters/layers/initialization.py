"""PiSSA and OLoRA initialization over an unchanged base.

They initialize A and B with factors A₀, B₀ of W, and peft subtracts s·B₀A₀ from W. Here W does not change: A₀ and B₀
are frozen buffers next to the trained A and B, and their product is subtracted from the change:

    W' = W + s·(BA − B₀A₀) = W + s·((B − B₀)A + B₀(A − A₀))

This is one product of twice the rank, and zero at the start in any precision.

Shapes: (..., I) inputs, (..., O) outputs, R rank.
Source: arXiv:2404.02948, arXiv:2406.01775; peft `tuners/lora/layer.py` (`pissa_init`, `olora_init`).
"""

from typing import Literal

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from worldtune.adapters.layers.base_weight import rows

WHOLE = 1024  # rows or columns up to which all singular values are computed
ITERATIONS = 16  # of the subspace, for larger weights; as peft's `pissa_niter_16`
A0, B0 = "lora_A0", "lora_B0"


def initial_factors(w_OI: Tensor, rank: int, scale: float, init: Literal["pissa", "olora"]) -> tuple[Tensor, Tensor]:
    """Return A₀ (R, I) and B₀ (O, R) of a weight, in fp32; for a large weight this draws random numbers.

    PiSSA: s·B₀A₀ is the part of W with its `rank` largest singular values, split evenly. OLoRA: B₀A₀ is Q's first
    columns times R's first rows, whatever the scale. `rank` is at most the weight's shorter side.
    """
    w_OI = w_OI.float()
    if init == "olora":
        q_OR = torch.linalg.qr(w_OI[:, :rank]).Q  # a column of Q depends only on the columns before it
        return q_OR.t() @ w_OI, q_OR
    if min(w_OI.shape) <= WHOLE:
        u_OS, s_S, v_SI = torch.linalg.svd(w_OI, full_matrices=False)
        u_OR, s_R, v_RI = u_OS[:, :rank], s_S[:rank], v_SI[:rank]
    else:
        u_OR, s_R, v_IR = torch.svd_lowrank(w_OI, rank, niter=ITERATIONS)
        v_RI = v_IR.t()
    root_R = (s_R / scale).sqrt()
    return root_R[:, None] * v_RI, u_OR * root_R


@torch.no_grad()
def initialize(module: LoraLayer, adapter: str, init: Literal["pissa", "olora"]) -> None:
    """Initialize A and B with factors of the layer's weight, and register these as frozen buffers."""
    a_RI, b_OR = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    w_OI = rows(module.get_base_layer(), 0, len(b_OR))
    a0_RI, b0_OR = initial_factors(w_OI, len(a_RI), module.scaling[adapter], init)
    for name, trained, frozen in ((A0, a_RI, a0_RI), (B0, b_OR, b0_OR)):
        trained.copy_(frozen)
        module.register_buffer(name, trained.detach().clone(), persistent=False)  # peft must not save it


def factors(module: LoraLayer, adapter: str) -> tuple[Tensor, Tensor]:
    """Return A and B whose product s·BA is the layer's change; with frozen factors they have twice the rank."""
    a_RI, b_OR = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    if not is_initialized(module):
        return a_RI, b_OR
    a0_RI, b0_OR = module.get_buffer(A0), module.get_buffer(B0)
    return torch.cat([a_RI, a_RI - a0_RI]), torch.cat([b_OR - b0_OR, b0_OR], 1)


def is_initialized(module: LoraLayer) -> bool:
    """Return whether A and B were initialized with factors of W."""
    return hasattr(module, A0)


def frozen_factors(denoiser: nn.Module) -> dict[str, Tensor]:
    """Return A₀ and B₀ of every layer by name; empty if B started at zero.

    A checkpoint stores them and copies them back, as another machine would compute different ones.
    """
    return {name: buffer for name, buffer in denoiser.named_buffers() if name.endswith((f".{A0}", f".{B0}"))}
