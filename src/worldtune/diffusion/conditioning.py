"""Conditioning on the first k latent frames: they are clean inputs, marked in a mask, and not predicted.

k = 0 is text2world, 1 image2world (one picture), 2 video2world (five pictures).
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py` and NVIDIA cosmos-predict2.5.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels.
"""

import torch
from torch import Tensor

MODES = {0: "text2world", 1: "image2world", 2: "video2world"}


def conditioning_mask(k_B: Tensor, frames: int) -> Tensor:
    """Return cond_mask_BT: 1.0 in the first k latent frames of each clip, which are known."""
    return (torch.arange(frames, device=k_B.device)[None] < k_B[:, None]).float()


def apply_conditioning(x_BCTHW: Tensor, z_BCTHW: Tensor, cond_mask_BT: Tensor) -> Tensor:
    """Return x with its known latent frames replaced by the clean frames of z."""
    known = cond_mask_BT[:, None, :, None, None]
    return known * z_BCTHW + (1 - known) * x_BCTHW


def frame_sigmas(sigma_B: Tensor, cond_mask_BT: Tensor, conditional_sigma: float | None) -> Tensor:
    """Return sigma_BT: the noise level that the network gets for each latent frame.

    Known frames get `conditional_sigma` (1e-4 for the post-trained Predict 2.5), or, if it is None, the same σ as the
    other frames (the pre-trained base).
    """
    sigma_BT = sigma_B[:, None].expand_as(cond_mask_BT)
    if conditional_sigma is None:
        return sigma_BT
    return cond_mask_BT * conditional_sigma + (1 - cond_mask_BT) * sigma_BT
