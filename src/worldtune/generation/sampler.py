"""The sampler: from noise to latents along the base's schedule; known frames keep their given latents.

Guidance is v + g·(v − v_negative), as NVIDIA and diffusers' Cosmos pipelines define it. Both velocities come from one
call of the denoiser with twice the clips, except for videos above `BATCHED_LATENTS`.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py` and `pipeline_cosmos2_video2world.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from worldtune.core.progress import Progress, silent
from worldtune.diffusion.conditioning import apply_conditioning, frame_sigmas
from worldtune.generation.solvers import open_solver
from worldtune.models.world import World

BATCHED_LATENTS = 2_000_000  # of B·C·T·H·W: above, the two velocities of guidance are computed one after the other


@dataclass(frozen=True)
class Guidance:
    """The encoded prompts and the strength g of guidance; at 0 `negative_BND` is not used."""

    text_BND: Tensor
    negative_BND: Tensor
    strength: float


@torch.no_grad()
def sample(
    world: World,
    guidance: Guidance,
    noise_BCTHW: Tensor,
    z_BCTHW: Tensor,
    cond_mask_BT: Tensor,
    *,
    steps: int,
    progress: Progress = silent,
) -> Tensor:
    """Return normalized latents of B videos after `steps` evaluations (of twice the clips with guidance).

    `z_BCTHW` holds the clean latents where `cond_mask_BT` is 1; its other values do not matter.
    """
    schedule = world.card.schedule
    solver = open_solver(schedule, steps, noise_BCTHW)
    velocity = guided(world, guidance, cond_mask_BT, batched=noise_BCTHW.numel() <= BATCHED_LATENTS)
    known = cond_mask_BT[:, None, :, None, None]
    begin = solver.sigmas[0].item() if schedule.kind == "edm" else 1.0  # EDM begins at σ·ε, rectified flow at ε
    known_velocity = (noise_BCTHW - z_BCTHW / begin) * known
    x_BCTHW = begin * noise_BCTHW
    for step, timestep in enumerate(solver.timesteps):
        sigma_B = solver.sigmas[step].to(world.device).expand(len(x_BCTHW))
        sigma_BT = frame_sigmas(sigma_B, cond_mask_BT, schedule.conditional_sigma)
        v_BCTHW = velocity(apply_conditioning(x_BCTHW, z_BCTHW, cond_mask_BT), sigma_BT)
        v_BCTHW = known_velocity + v_BCTHW * (1 - known)
        x_BCTHW = solver.step(v_BCTHW, timestep, x_BCTHW, return_dict=False)[0]
        progress(step + 1, steps)
    return x_BCTHW / (1 - solver.sigmas[-1].item())  # EDM ends above σ = 0, with latents not scaled down


def guided(
    world: World, guidance: Guidance, cond_mask_BT: Tensor, *, batched: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function from (x_BCTHW, sigma_BT) to the guided v_BCTHW; both texts are cached now, once."""
    if guidance.strength == 0:
        text = world.cache_text_kv(guidance.text_BND)
        return lambda x_BCTHW, sigma_BT: world.velocity(x_BCTHW, sigma_BT, cond_mask_BT, text)
    if batched:
        texts = world.cache_text_kv(torch.cat([guidance.text_BND, guidance.negative_BND]))

        def pair(x_BCTHW: Tensor, sigma_BT: Tensor) -> tuple[Tensor, Tensor]:
            x_BCTHW, sigma_BT, cond_mask_twice_BT = (torch.cat([t, t]) for t in (x_BCTHW, sigma_BT, cond_mask_BT))
            v_BCTHW, negative_BCTHW = world.velocity(x_BCTHW, sigma_BT, cond_mask_twice_BT, texts).chunk(2)
            return v_BCTHW, negative_BCTHW
    else:
        text, negative = world.cache_text_kv(guidance.text_BND), world.cache_text_kv(guidance.negative_BND)

        def pair(x_BCTHW: Tensor, sigma_BT: Tensor) -> tuple[Tensor, Tensor]:
            v_BCTHW, negative_BCTHW = (world.velocity(x_BCTHW, sigma_BT, cond_mask_BT, t) for t in (text, negative))
            return v_BCTHW, negative_BCTHW

    def velocity(x_BCTHW: Tensor, sigma_BT: Tensor) -> Tensor:
        v_BCTHW, negative_BCTHW = pair(x_BCTHW, sigma_BT)
        return v_BCTHW + guidance.strength * (v_BCTHW - negative_BCTHW)

    return velocity
