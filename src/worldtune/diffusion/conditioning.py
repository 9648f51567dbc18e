"""Conditioning on the first k latent frames: they are given clean, marked in a mask, and not predicted.

k = 0 is text2world, 1 image2world (one picture), 2 video2world (five pictures).
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py` and NVIDIA cosmos-predict2.5.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels.
"""

import torch
from torch import Tensor

MODES = {0: "text2world", 1: "image2world", 2: "video2world"}


def known_frames(k_B: Tensor, frames: int) -> Tensor:
    """known_BT: 1.0 where a latent frame is given, that is in the first k of each clip."""
    return (torch.arange(frames, device=k_B.device)[None] < k_B[:, None]).float()


def give_frames(x_BCTHW: Tensor, z_BCTHW: Tensor, known_BT: Tensor) -> Tensor:
    """x with its known latent frames replaced by the clean ones of z."""
    known = known_BT[:, None, :, None, None]
    return known * z_BCTHW + (1 - known) * x_BCTHW


def frame_sigmas(sigma_B: Tensor, known_BT: Tensor, conditional_sigma: float | None) -> Tensor:
    """sigma_BT: the noise level that the network is told for each latent frame.

    Known frames are told `conditional_sigma` (1e-4 for the post-trained Predict 2.5), or, when it is
    None, the same σ as the others (the pre-trained base).
    """
    sigma_BT = sigma_B[:, None].expand_as(known_BT)
    if conditional_sigma is None:
        return sigma_BT
    return known_BT * conditional_sigma + (1 - known_BT) * sigma_BT
