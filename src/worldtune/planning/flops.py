"""Floating-point operations of a computation: PyTorch's own counter, taught the attention of the CPU.

A product of (n, m) and (m, k) is 2·n·m·k. Only products and attention count, as is usual.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

ATEN: Any = torch.ops.aten
Shape = tuple[int, ...]


def count_flops(compute: Callable[[], object]) -> int:
    """FLOPs of one call of `compute`, backward passes within it included. Keeps what it counted alive meanwhile."""
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        compute()
    return int(counter.get_total_flops())


def _forward(query: Shape, key: Shape, value: Shape, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _backward(
    grad: Shape, query: Shape, key: Shape, value: Shape, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


ATTENTION = {
    ATEN._scaled_dot_product_flash_attention_for_cpu: _forward,
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
}
