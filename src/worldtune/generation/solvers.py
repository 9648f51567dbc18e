"""Solvers: steps from one noise level to the next, with the interface of diffusers' schedulers.

UniPC (arXiv:2302.04867) comes from diffusers. The distilled Predict 2.5 jumps to its estimate of z and adds the initial
noise again (github.com/nvidia-cosmos/cosmos-predict2.5, `video2world_model_distill_dmd2.py`). NVIDIA writes this in
TrigFlow's angles, cos t·z + sin t·ε: rectified flow's (1 − σ)·z + σ·ε at σ = tan t / (1 + tan t), except for a factor
that the scaling of its network removes.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels.
"""

from typing import Protocol

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from worldtune.models.catalog import Schedule


class Solver(Protocol):
    """The interface of a solver.

    `sigmas` includes the final level, which is 0 except for Predict 2. `step` takes the velocity at the current level
    and returns x_BCTHW at the next one.
    """

    timesteps: Tensor
    sigmas: Tensor

    def step(self, v_BCTHW: Tensor, timestep: Tensor, x_BCTHW: Tensor, return_dict: bool) -> tuple[Tensor]: ...


class DistilledSolver:
    """Steps of a distilled base: z = x − σ·v, then x = (1 − σ')·z + σ'·ε with the initial noise ε."""

    def __init__(self, levels_S: np.ndarray, noise_BCTHW: Tensor) -> None:
        self.timesteps = torch.from_numpy(levels_S * 1000)
        self.sigmas = torch.from_numpy(np.append(levels_S, 0.0).astype(np.float32))
        self._noise_BCTHW = noise_BCTHW
        self._next = 0

    def step(self, v_BCTHW: Tensor, timestep: Tensor, x_BCTHW: Tensor, return_dict: bool) -> tuple[Tensor]:
        now, self._next = self._next, self._next + 1
        z_BCTHW = x_BCTHW - self.sigmas[now].item() * v_BCTHW
        sigma = self.sigmas[self._next].item()
        return ((1 - sigma) * z_BCTHW + sigma * self._noise_BCTHW,)


class EulerSolver:
    """Euler steps x + (σ' − σ)·v: EDM's are the same in σ/(1 + σ) as in σ, as both paths are straight from z to ε."""

    def __init__(self, levels_S: np.ndarray) -> None:
        self.timesteps = torch.from_numpy(levels_S[:-1] * 1000)
        self.sigmas = torch.from_numpy(levels_S.astype(np.float32))
        self._next = 0

    def step(self, v_BCTHW: Tensor, timestep: Tensor, x_BCTHW: Tensor, return_dict: bool) -> tuple[Tensor]:
        now, self._next = self._next, self._next + 1
        return (x_BCTHW + (self.sigmas[self._next] - self.sigmas[now]).item() * v_BCTHW,)


def open_solver(schedule: Schedule, evaluations: int, noise_BCTHW: Tensor) -> Solver:
    """Return the solver of a base's schedule, before its first step."""
    levels_S = schedule.levels(evaluations)
    if schedule.kind == "distilled":
        return DistilledSolver(levels_S, noise_BCTHW)
    if schedule.kind == "edm":
        return EulerSolver(levels_S)
    solver = UniPCMultistepScheduler(solver_order=2, prediction_type="flow_prediction", use_flow_sigmas=True)
    solver.set_timesteps(sigmas=levels_S, device=noise_BCTHW.device)
    return solver
