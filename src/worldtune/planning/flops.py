"""Floating-point operations of a computation: PyTorch's formulas, plus CPU attention and in-place products.

A product of (n, m) and (m, k) is 2·n·m·k. As usual, only products, convolutions and attention count.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

ATEN: Any = torch.ops.aten
Shape = tuple[int, ...]
Result = TypeVar("Result")


class FlopCounter(TorchDispatchMode):
    """A counter of the operations inside its block, backward passes included; `current` is the active counter."""

    current: "ClassVar[FlopCounter | None]" = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, packet = func(*args, **(kwargs or {})), func._overloadpacket
        if formula := FORMULAS.get(packet):
            self.total += formula(*(arg.shape if isinstance(arg, Tensor) else arg for arg in args))
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def count_flops(compute: Callable[[], object]) -> int:
    """Return the FLOPs of one call of `compute`."""
    return with_flops(compute)[0]


def with_flops(compute: Callable[[], Result]) -> tuple[int, Result]:
    """Return the FLOPs of one call of `compute`, and its result."""
    with FlopCounter() as counter:
        FlopCounter.current = counter
        try:
            result = compute()
        finally:
            FlopCounter.current = None
    return counter.total, result


def _addmm(sums: Shape, left: Shape, right: Shape, *_: Any) -> int:
    return 2 * left[0] * left[1] * right[1]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))


FORMULAS: dict[Any, Callable[..., int]] = {
    ATEN.addmm_: _addmm,
    ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
