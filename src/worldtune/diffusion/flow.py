"""Rectified flow: straight paths from data z to noise ε.

x_σ = σ·ε + (1 − σ)·z and v = dx/dσ = ε − z, for σ in [0, 1] (Liu et al., arXiv:2209.03003).

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels.
"""

import torch
from torch import Tensor


def interpolate(z_BCTHW: Tensor, noise_BCTHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Return the point x_BCTHW of the path at noise level σ, one σ per clip."""
    sigma = sigma_B.view(-1, 1, 1, 1, 1)
    return sigma * noise_BCTHW + (1 - sigma) * z_BCTHW


def velocity(z_BCTHW: Tensor, noise_BCTHW: Tensor) -> Tensor:
    """Return the path's constant velocity v = ε − z, the training target."""
    return noise_BCTHW - z_BCTHW


def shifted_logit_normal(normal_B: Tensor, shift: float) -> Tensor:
    """Return training noise levels from standard normal draws: u = sigmoid(n), σ = s·u / (1 + (s − 1)·u).

    Predict 2.5 uses s = 5 (Esser et al., arXiv:2403.03206, eq. 19 and 23).
    """
    u = torch.sigmoid(normal_B)
    return shift * u / (1 + (shift - 1) * u)


def high_sigmas(uniform_B: Tensor) -> Tensor:
    """Return noise levels near pure noise, uniform in [0.98, 1], for a share of the samples.

    Source: github.com/nvidia-cosmos/cosmos-predict2.5, whose 14B was pre-trained with 5 % of them.
    """
    return 0.98 + 0.02 * uniform_B
