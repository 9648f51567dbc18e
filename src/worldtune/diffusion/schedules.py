"""The sampling noise levels of each kind of base: σ in [0, 1], decreasing, without the final 0.

Sources: Karras et al., arXiv:2206.00364, eq. 5; Esser et al., arXiv:2403.03206, eq. 23;
github.com/nvidia-cosmos/cosmos-predict2.5 (`fm_solvers_unipc.py`, `video2world_model_distill_dmd2.py`).

Shapes: S noise levels, one per evaluation of the denoiser.
"""

import numpy as np

RHO = 7.0
SHIFT = 5.0
TRAINING_LEVELS = 1000  # NVIDIA's table of noise levels: the highest is 1 − 1/1000
DISTILLED_TIMES = (1.0, 0.75, 0.5, 0.25)  # before the shift


def karras_sigmas(evaluations: int, sigma_max: float, sigma_min: float) -> np.ndarray:
    """Return σ_S between EDM's `sigma_max` and `sigma_min`, with ρ = 7, as σ/(1 + σ).

    NVIDIA's "35 steps" are 36 evaluations; this function and diffusers count evaluations.
    """
    high, low = sigma_max ** (1 / RHO), sigma_min ** (1 / RHO)
    edm_S = (high + np.linspace(0, 1, evaluations) * (low - high)) ** RHO
    return edm_S / (1 + edm_S)


def shifted_linear_sigmas(evaluations: int, shift: float = SHIFT) -> np.ndarray:
    """Return σ_S equally spaced from 1 − 1/1000 towards 0, then shifted."""
    return shift_sigmas(np.linspace(1 - 1 / TRAINING_LEVELS, 0, evaluations + 1)[:-1], shift)


def distilled_sigmas() -> np.ndarray:
    """Return σ_S of the four evaluations that the distilled model was trained for."""
    return shift_sigmas(np.array(DISTILLED_TIMES), SHIFT)


def shift_sigmas(u_S: np.ndarray, shift: float) -> np.ndarray:
    """Return σ = s·u / (1 + (s − 1)·u)."""
    return shift * u_S / (1 + (shift - 1) * u_S)
