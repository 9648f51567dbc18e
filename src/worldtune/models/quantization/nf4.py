"""NF4: four bits per weight, sixteen quantiles of a normal distribution, scaled to each block's largest weight.

Source: QLoRA, arXiv:2305.14314, appendix E; bit for bit equal to bitsandbytes' `quantize_4bit`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 64
VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def encode_nf4(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes, two per byte with the first in the upper half, and the fp32 scale of each block.

    Raise ValueError unless the weight consists of whole blocks.
    """
    if weight_OI.numel() % BLOCK:
        raise ValueError(f"a weight of shape {tuple(weight_OI.shape)} does not consist of whole blocks of {BLOCK}")
    blocks_NB = weight_OI.reshape(-1, BLOCK).float()
    scales_N = blocks_NB.abs().amax(1)
    values = torch.tensor(VALUES, device=weight_OI.device)
    ratio_NB = blocks_NB / torch.where(scales_N == 0, 1.0, scales_N)[:, None]
    codes = torch.bucketize(ratio_NB, (values[1:] + values[:-1]) / 2).to(torch.uint8).view(-1, 2)
    return codes[:, 0] << 4 | codes[:, 1], scales_N


def decode_nf4(codes: Tensor, scales_N: Tensor, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weights (N, BLOCK) of whole blocks; `values` are `VALUES` in fp32, on the codes' device.

    One lookup per byte gives the two weights in it.
    """
    pairs = torch.stack([values.repeat_interleave(16), values.repeat(16)], 1)
    return F.embedding(codes.int(), pairs).view(-1, BLOCK).mul_(scales_N[:, None]).to(dtype)
