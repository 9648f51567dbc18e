"""Noise levels of sampling, as each base was trained to be sampled: σ in [0, 1], falling, without the final 0.

Sources: Karras et al., arXiv:2206.00364, eq. 5; Esser et al., arXiv:2403.03206, eq. 23;
github.com/nvidia-cosmos/cosmos-predict2.5 (`fm_solvers_unipc.py`, `video2world_model_distill_dmd2.py`).

Shapes: S noise levels, one an evaluation of the denoiser.
"""

import numpy as np

RHO = 7.0
SHIFT = 5.0
TRAINING_LEVELS = 1000  # NVIDIA's table of noise levels: the highest is 1 − 1/1000
DISTILLED_TIMES = (1.0, 0.75, 0.5, 0.25)  # before the shift


def karras(evaluations: int, sigma_max: float, sigma_min: float) -> np.ndarray:
    """σ_S between EDM's `sigma_max` and `sigma_min`, ρ = 7, as σ/(1 + σ).

    NVIDIA's "35 steps" are 36 evaluations; diffusers counts the evaluations, as here.
    """
    high, low = sigma_max ** (1 / RHO), sigma_min ** (1 / RHO)
    edm_S = (high + np.linspace(0, 1, evaluations) * (low - high)) ** RHO
    return edm_S / (1 + edm_S)


def shifted_linear(evaluations: int, shift: float = SHIFT) -> np.ndarray:
    """σ_S equally spaced from 1 − 1/1000 towards 0, then shifted."""
    return shift_levels(np.linspace(1 - 1 / TRAINING_LEVELS, 0, evaluations + 1)[:-1], shift)


def distilled() -> np.ndarray:
    """σ_S of the four evaluations that the distilled model was trained for."""
    return shift_levels(np.array(DISTILLED_TIMES), SHIFT)


def shift_levels(u_S: np.ndarray, shift: float) -> np.ndarray:
    """σ = s·u / (1 + (s − 1)·u)."""
    return shift * u_S / (1 + (shift - 1) * u_S)
