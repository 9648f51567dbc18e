"""The sampler: from noise to latents along the base's own schedule, with known frames held to their truth.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py`; UniPC, arXiv:2302.04867.
"""

from collections.abc import Callable

import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from worldtune.diffusion.conditioning import frame_sigmas, give_frames
from worldtune.worlds.world import World


@torch.no_grad()
def sample(
    world: World,
    text_BND: Tensor,
    negative_BND: Tensor,
    noise_BCTHW: Tensor,
    z_BCTHW: Tensor,
    known_BT: Tensor,
    *,
    steps: int,
    guidance: float,
    on_step: Callable[[int], None] = lambda step: None,
) -> Tensor:
    """Normalised latents of B videos after `steps` evaluations (twice that with guidance).

    `z_BCTHW` holds the clean latents where `known_BT` is 1; elsewhere it is not read.
    """
    schedule = world.card.schedule
    scheduler = UniPCMultistepScheduler(solver_order=2, prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(sigmas=schedule.levels(steps), device=world.device)
    known = known_BT[:, None, :, None, None]
    known_velocity = (noise_BCTHW - z_BCTHW) * known
    x_BCTHW = noise_BCTHW
    for step, timestep in enumerate(scheduler.timesteps):
        sigma_B = scheduler.sigmas[step].to(world.device).expand(len(x_BCTHW))
        sigma_BT = frame_sigmas(sigma_B, known_BT, schedule.conditional_sigma)
        given_BCTHW = give_frames(x_BCTHW, z_BCTHW, known_BT)
        v_BCTHW = world.velocity(given_BCTHW, sigma_BT, known_BT, text_BND)
        if guidance > 0:
            v_negative = world.velocity(given_BCTHW, sigma_BT, known_BT, negative_BND)
            v_BCTHW = v_BCTHW + guidance * (v_BCTHW - v_negative)
        v_BCTHW = known_velocity + v_BCTHW * (1 - known)
        x_BCTHW = scheduler.step(v_BCTHW, timestep, x_BCTHW, return_dict=False)[0]
        on_step(step + 1)
    return x_BCTHW
