"""The frozen weight under an adapter; a quantized layer has a method `rows`.

Shapes: I inputs, O outputs.
"""

from typing import Any

from torch import Tensor, nn


def rows(layer: Any, start: int, stop: int) -> Tensor:
    """Return rows [start, stop) of the layer's weight (O, I), in the precision it computes in."""
    return layer.rows(start, stop) if is_quantized(layer) else layer.weight[start:stop]


def is_quantized(layer: nn.Module) -> bool:
    """Return whether the layer holds its weight as codes and scales."""
    return hasattr(layer, "rows")


def own_tensors(layer: nn.Module) -> list[Tensor]:
    """Return the tensors that hold the layer's weight: the weight itself, or its codes and scales."""
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
