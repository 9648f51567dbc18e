"""Predict 2's objective: EDM's noise levels σ in (0, ∞), with the scalings of rectified flow.

With t = σ/(1 + σ), x = z + σ·ε and the scalings c_in = 1 − t, c_skip = 1 − t, c_out = −t, c_noise = t, the network's
input at t is (1 − t)·z + t·ε, the point of rectified flow's path, and its output F is that path's velocity: the error
of the estimate c_skip·x + c_out·F of z is t times the error of F as an estimate of v = ε − z. The weight
(1 + σ)²/σ² = 1/t² thus turns the loss of z into the loss of v, which NVIDIA multiplies by ten.

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
    """Return t = σ/(1 + σ) in [0, 1), the time of an EDM noise level on rectified flow's path."""
    return sigma / (1 + sigma)


def scalings(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return c_skip, c_out, c_in and c_noise of a noise level."""
    t = flow_time(sigma)
    return 1 - t, -t, 1 - t, t


def loss_weight(sigma: Tensor) -> Tensor:
    """Return the weight (1 + σ)²/σ² of the squared error of z."""
    return (1 + sigma).square() / sigma.square()


def training_sigmas(normal_B: Tensor, uniform_B: Tensor, high_B: Tensor) -> Tensor:
    """Return training noise levels from standard normal and uniform draws.

    σ = √24·exp(n), or, if `high_B` is below 5 %, log-uniform between 200 and 100,000.
    """
    low, high = (math.log(sigma) for sigma in HIGH_SIGMAS)
    usual_B, high_sigma_B = torch.exp(LOG_SIGMA_MEAN + normal_B), torch.exp(low + (high - low) * uniform_B)
    return torch.where(high_B < HIGH_SHARE, high_sigma_B, usual_B)
