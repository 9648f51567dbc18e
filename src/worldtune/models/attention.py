"""Attention, and a context that keeps its results for recomputation.

Shapes: B clips, H heads, N queries, M keys, E a head's width.
"""

import threading
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

FEW = 512  # queries up to which PyTorch's blockwise CPU kernel is slower in bf16
ATEN: Any = torch.ops.aten
ATTENTIONS = {
    ATEN._scaled_dot_product_flash_attention_for_cpu.default,
    ATEN._scaled_dot_product_flash_attention.default,
    ATEN._scaled_dot_product_efficient_attention.default,
    ATEN._scaled_dot_product_cudnn_attention.default,
}


class _State(threading.local):
    keeping: "_Keeping | None" = None


_state = _State()


def attend(queries_BHNE: Tensor, keys_BHME: Tensor, values_BHME: Tensor) -> Tensor:
    """Return softmax(Q Kᵀ/√E) V as (B, H, N, E); for few queries in bf16 on a CPU the scores are computed whole."""
    keeping = _state.keeping
    few = queries_BHNE.shape[2] <= FEW and queries_BHNE.device.type == "cpu"
    if few and queries_BHNE.dtype == torch.bfloat16 and keeping is None:
        scores_BHNM = (queries_BHNE * queries_BHNE.shape[3] ** -0.5) @ keys_BHME.transpose(2, 3)
        return scores_BHNM.softmax(-1) @ values_BHME
    self_attention = queries_BHNE.shape == keys_BHME.shape  # attention to text is cheap to recompute
    with keeping if keeping is not None and self_attention else nullcontext():
        return F.scaled_dot_product_attention(queries_BHNE, keys_BHME, values_BHME)


class KeptAttention:
    """A context that keeps the results of self-attention in `kept`, or with `again` returns them in order.

    Inside it attention is always PyTorch's single operation.
    """

    def __init__(self, kept: list[Any], *, again: bool) -> None:
        self._keeping = _Keeping(kept, again)

    def __enter__(self) -> None:
        self._before, _state.keeping = _state.keeping, self._keeping

    def __exit__(self, *error: object) -> None:
        _state.keeping = self._before


class _Keeping(TorchDispatchMode):
    """The dispatch mode of `KeptAttention`; it slows down every operation inside, so only attention may be inside."""

    def __init__(self, kept: list[Any], again: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept, self.again = kept, again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in ATTENTIONS:
            return func(*args, **(kwargs or {}))
        if self.again:
            return self.kept.pop(0)
        out = func(*args, **(kwargs or {}))
        self.kept.append(tree_map_only(Tensor, torch.detach, out))
        return out
