"""Attention of queries to keys and values.

Shapes: B clips, H heads, N queries, M keys, E a head's width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FEW = 512  # queries, up to which PyTorch's blockwise kernel for CPUs is the slower form in bf16


def attend(queries_BHNE: Tensor, keys_BHME: Tensor, values_BHME: Tensor) -> Tensor:
    """softmax(Q Kᵀ/√E) V as (B, H, N, E), its scores kept whole where that is faster and they are few."""
    few = queries_BHNE.shape[2] <= FEW and queries_BHNE.device.type == "cpu"
    if not few or queries_BHNE.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(queries_BHNE, keys_BHME, values_BHME)
    scores_BHNM = (queries_BHNE * queries_BHNE.shape[3] ** -0.5) @ keys_BHME.transpose(2, 3)
    return scores_BHNM.softmax(-1) @ values_BHME
