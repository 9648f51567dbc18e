"""The training objective: mean square error of the velocity, known frames overwritten with the truth.

The mean still divides by all elements, as in NVIDIA's code: a clip with more known frames weighs less.
"""

from torch import Tensor


def squared_error_per_clip(v_BCTHW: Tensor, target_BCTHW: Tensor, known_BT: Tensor) -> Tensor:
    """loss_B: for each clip the mean over C, T, H, W of (v − target)², zero in known frames."""
    unknown = 1 - known_BT[:, None, :, None, None]
    return ((v_BCTHW - target_BCTHW) * unknown).square().mean((1, 2, 3, 4))
