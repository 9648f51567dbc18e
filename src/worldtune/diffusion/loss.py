"""The training objective: mean square error of the velocity, zero in known frames.

The mean divides by all elements, as in NVIDIA's code, so that a clip with more known frames weighs less.
"""

from torch import Tensor


def squared_error_per_clip(v_BCTHW: Tensor, target_BCTHW: Tensor, cond_mask_BT: Tensor) -> Tensor:
    """Return loss_B: for each clip the mean over C, T, H, W of (v − target)², zero in known frames."""
    unknown = 1 - cond_mask_BT[:, None, :, None, None]
    return ((v_BCTHW - target_BCTHW) * unknown).square().mean((1, 2, 3, 4))
