"""The distilled base's steps against TrigFlow's angles; the other schedules use diffusers' UniPC."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler

from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.errors import RecipeError
from worldtune.generation.request import GenerationRequest
from worldtune.generation.sampler import Guidance, sample
from worldtune.generation.solvers import open_solver
from worldtune.generation.validate_request import resolve
from worldtune.models.catalog import BY_NAME
from worldtune.models.load import open_world

ANGLES = (math.pi / 2, math.atan(15), math.atan(5), math.atan(5 / 3), 0.0)
DISTILLED = BY_NAME["predict2.5-2b/distilled"].schedule


def test_distilled_steps_equal_trigflow() -> None:
    """The network sees (cos t·z + sin t·ε) / (cos t + sin t); its estimate of z is here any function of x."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 2, 3, 4, 4, generator=generator, dtype=torch.float64)

    def estimate(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(1.7 * x) + 0.1

    x = noise
    for now, after in pairwise(ANGLES):
        z = estimate(x / (math.cos(now) + math.sin(now)))
        x = math.cos(after) * z + math.sin(after) * noise

    solver = open_solver(DISTILLED, 4, noise)
    ours = noise
    for i, timestep in enumerate(solver.timesteps):
        v = (ours - estimate(ours)) / solver.sigmas[i]
        (ours,) = solver.step(v, timestep, ours, return_dict=False)
    assert (ours - x).abs().max() < 1e-6  # σ are kept in fp32


def test_distilled_sampling_keeps_known_frames(tiny_world: Path) -> None:
    world = open_world(f"predict2.5-2b/distilled={tiny_world}")
    z_BCTHW, noise_BCTHW = torch.randn(2, 1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    text_BND = world.encode_prompts(["the square goes down"])
    cond_mask_BT = conditioning_mask(torch.tensor([1]), 3)
    done = sample(world, Guidance(text_BND, text_BND, 0), noise_BCTHW, z_BCTHW, cond_mask_BT, steps=4)
    assert (done - z_BCTHW)[:, :, 0].abs().max() < 1e-5
    assert (done - z_BCTHW)[:, :, 1:].abs().max() > 0.1


def test_a_distilled_base_has_four_steps_and_no_guidance(tiny_world: Path) -> None:
    world = open_world(f"predict2.5-2b/distilled={tiny_world}")
    fields = {"name": "a", "inference_type": "text2world", "prompt": "a", "resolution": "32,32", "num_output_frames": 9}
    default = resolve(world, GenerationRequest.model_validate(fields))
    assert (default.evaluations, default.guidance) == (4, 0)
    with pytest.raises(RecipeError, match="guidance built in"):
        resolve(world, GenerationRequest.model_validate(fields | {"guidance": 7}))


def test_other_schedules_use_unipc() -> None:
    solver = open_solver(BY_NAME["predict2.5-2b/pre-trained"].schedule, 5, torch.zeros(1))
    assert isinstance(solver, UniPCMultistepScheduler)
    u = 0.999 * np.arange(5, 0, -1) / 5
    assert solver.sigmas.numpy() == pytest.approx([*(5 * u / (1 + 4 * u)), 0], rel=1e-6)
