"""PiSSA's and OLoRA's starts over a base that stays as it is.

They start A and B at factors A₀, B₀ of W, and peft takes s·B₀A₀ off W itself. Here W is kept, A₀ and B₀ stand as
frozen buffers beside the trained A and B, and what they give is taken off the change:

    W' = W + s·(BA − B₀A₀) = W + s·((B − B₀)A + B₀(A − A₀))

which is one product of twice the rank, and zero at the start in any precision.

Shapes: (..., I) inputs, (..., O) outputs, R rank.
Source: arXiv:2404.02948, arXiv:2406.01775; peft `tuners/lora/layer.py` (`pissa_init`, `olora_init`).
"""

from typing import Literal

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from worldtune.adapters.base_weight import rows

WHOLE = 1024  # up to this many rows or columns all singular values are computed
ITERATIONS = 16  # of the subspace, in larger weights; as peft's `pissa_niter_16`
A0, B0 = "lora_A0", "lora_B0"


def starting_factors(w_OI: Tensor, rank: int, scale: float, init: Literal["pissa", "olora"]) -> tuple[Tensor, Tensor]:
    """A₀ (R, I) and B₀ (O, R) of a weight, in fp32; draws random numbers where the weight is large.

    PiSSA: s·B₀A₀ is the part of W of its `rank` largest singular values, split evenly. OLoRA: B₀A₀ is QR's first
    columns times its first rows, whatever the scale. `rank` is at most the weight's shorter side.
    """
    w_OI = w_OI.float()
    if init == "olora":
        q_OR = torch.linalg.qr(w_OI[:, :rank]).Q  # a column of Q depends on the columns before it alone
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
def start(module: LoraLayer, adapter: str, init: Literal["pissa", "olora"]) -> None:
    """Start A and B at the factors of the layer's weight, and keep those beside them."""
    a_RI, b_OR = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    w_OI = rows(module.get_base_layer(), 0, len(b_OR))
    a0_RI, b0_OR = starting_factors(w_OI, len(a_RI), module.scaling[adapter], init)
    for name, trained, frozen in ((A0, a_RI, a0_RI), (B0, b_OR, b0_OR)):
        trained.copy_(frozen)
        module.register_buffer(name, trained.detach().clone(), persistent=False)  # no tensor that peft saves


def factors(module: LoraLayer, adapter: str) -> tuple[Tensor, Tensor]:
    """A and B whose product s·BA is the layer's change: the trained ones, or of twice the rank with what is frozen."""
    a_RI, b_OR = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    if not is_started(module):
        return a_RI, b_OR
    a0_RI, b0_OR = module.get_buffer(A0), module.get_buffer(B0)
    return torch.cat([a_RI, a_RI - a0_RI]), torch.cat([b_OR - b0_OR, b0_OR], 1)


def is_started(module: LoraLayer) -> bool:
    """Whether its A and B started at factors of W."""
    return hasattr(module, A0)


def frozen_factors(denoiser: nn.Module) -> dict[str, Tensor]:
    """A₀ and B₀ of every layer by name, where A and B started there; empty where B started at zero.

    A checkpoint holds them, and they are copied back: another machine computes others.
    """
    return {name: buffer for name, buffer in denoiser.named_buffers() if name.endswith((f".{A0}", f".{B0}"))}
