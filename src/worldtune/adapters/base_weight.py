"""The frozen weight below an adapter, which may be quantised: such a layer has `rows` of its own.

Shapes: I inputs, O outputs.
"""

from typing import Any

from torch import Tensor, nn


def rows(layer: Any, start: int, stop: int) -> Tensor:
    """Rows [start, stop) of the layer's weight (O, I), in the precision it computes in."""
    return layer.rows(start, stop) if is_quantised(layer) else layer.weight[start:stop]


def is_quantised(layer: nn.Module) -> bool:
    return hasattr(layer, "rows")


def own_tensors(layer: nn.Module) -> list[Tensor]:
    """What the layer's weight is made of: itself, or its codes and scales."""
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
