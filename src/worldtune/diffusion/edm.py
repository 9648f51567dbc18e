"""Predict 2's objective: EDM's noise levels σ in (0, ∞), with the scalings of rectified flow.

With t = σ/(1 + σ), x = z + σ·ε and the scalings c_in = 1 − t, c_skip = 1 − t, c_out = −t, c_noise = t, the network
sees (1 − t)·z + t·ε at t, the point of rectified flow's path, and its output is that path's velocity: the estimate
c_skip·x + c_out·F of z is off by t times what F is off v = ε − z. The weight (1 + σ)²/σ² = 1/t² then makes the
loss of z the plain loss of v, which NVIDIA multiplies by ten.

Sources: Karras et al., arXiv:2206.00364; github.com/nvidia-cosmos/cosmos-predict2 (`RectifiedFlowScaling`,
`Video2WorldPipeline`).

Shapes: B clips.
"""

import math

import torch
from torch import Tensor

LOSS_SCALE = 10.0
LOG_SIGMA_MEAN = 0.5 * math.log(24.0)  # σ = √24 · exp(n)
HIGH_SHARE = 0.05
HIGH_SIGMAS = (200.0, 100_000.0)


def flow_time(sigma: Tensor) -> Tensor:
    """t = σ/(1 + σ) in [0, 1): where on rectified flow's path an EDM noise level is."""
    return sigma / (1 + sigma)


def scalings(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in, c_noise of a noise level."""
    t = flow_time(sigma)
    return 1 - t, -t, 1 - t, t


def denoised_weight(sigma: Tensor) -> Tensor:
    """The weight (1 + σ)²/σ² of the squared error of z."""
    return (1 + sigma).square() / sigma.square()


def training_sigmas(normal_B: Tensor, uniform_B: Tensor, high_B: Tensor) -> Tensor:
    """Training noise levels from standard normal and uniform draws.

    σ = √24·exp(n), or, where `high_B` is below 5 %, log-uniform between 200 and 100,000.
    """
    low, high = (math.log(sigma) for sigma in HIGH_SIGMAS)
    usual_B, high_sigma_B = torch.exp(LOG_SIGMA_MEAN + normal_B), torch.exp(low + (high - low) * uniform_B)
    return torch.where(high_B < HIGH_SHARE, high_sigma_B, usual_B)
