"""The sampler: from noise to latents along the base's own schedule, with known frames held to their truth.

Guidance is v + g·(v − v_negative), as NVIDIA and diffusers' Cosmos pipelines count it. Both velocities come from one
call of the denoiser with twice the clips, but for videos above `BATCHED_LATENTS`.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py` and `pipeline_cosmos2_video2world.py`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from worldtune.diffusion.conditioning import frame_sigmas, give_frames
from worldtune.generation.solvers import open_solver
from worldtune.worlds.world import World

BATCHED_LATENTS = 2_000_000  # of B·C·T·H·W: above, the two velocities of guidance are computed one after the other


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
    """Normalised latents of B videos after `steps` evaluations (of twice the clips with guidance).

    `z_BCTHW` holds the clean latents where `known_BT` is 1; elsewhere it is not read.
    """
    schedule = world.card.schedule
    solver = open_solver(schedule, steps, noise_BCTHW)
    velocity = guided(world, text_BND, negative_BND, known_BT, guidance, noise_BCTHW.numel() <= BATCHED_LATENTS)
    known = known_BT[:, None, :, None, None]
    begin = solver.sigmas[0].item() if schedule.kind == "edm" else 1.0  # EDM's noise is σ·ε, rectified flow's all of ε
    known_velocity = (noise_BCTHW - z_BCTHW / begin) * known
    x_BCTHW = begin * noise_BCTHW
    for step, timestep in enumerate(solver.timesteps):
        sigma_B = solver.sigmas[step].to(world.device).expand(len(x_BCTHW))
        sigma_BT = frame_sigmas(sigma_B, known_BT, schedule.conditional_sigma)
        v_BCTHW = velocity(give_frames(x_BCTHW, z_BCTHW, known_BT), sigma_BT)
        v_BCTHW = known_velocity + v_BCTHW * (1 - known)
        x_BCTHW = solver.step(v_BCTHW, timestep, x_BCTHW, return_dict=False)[0]
        on_step(step + 1)
    return x_BCTHW / (1 - solver.sigmas[-1].item())  # EDM's last level is above 0, and its latents are not scaled down


def guided(
    world: World, text_BND: Tensor, negative_BND: Tensor, known_BT: Tensor, guidance: float, batched: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """v_BCTHW of x_BCTHW at sigma_BT, guided away from the negative text; both texts are read once, now."""
    if guidance == 0:
        text = world.read_text(text_BND)
        return lambda x_BCTHW, sigma_BT: world.velocity(x_BCTHW, sigma_BT, known_BT, text)
    if batched:
        texts = world.read_text(torch.cat([text_BND, negative_BND]))

        def pair(x_BCTHW: Tensor, sigma_BT: Tensor) -> tuple[Tensor, Tensor]:
            x_BCTHW, sigma_BT, known_twice_BT = (torch.cat([t, t]) for t in (x_BCTHW, sigma_BT, known_BT))
            v_BCTHW, negative_BCTHW = world.velocity(x_BCTHW, sigma_BT, known_twice_BT, texts).chunk(2)
            return v_BCTHW, negative_BCTHW
    else:
        text, negative = world.read_text(text_BND), world.read_text(negative_BND)

        def pair(x_BCTHW: Tensor, sigma_BT: Tensor) -> tuple[Tensor, Tensor]:
            v_BCTHW, negative_BCTHW = (world.velocity(x_BCTHW, sigma_BT, known_BT, t) for t in (text, negative))
            return v_BCTHW, negative_BCTHW

    def velocity(x_BCTHW: Tensor, sigma_BT: Tensor) -> Tensor:
        v_BCTHW, negative_BCTHW = pair(x_BCTHW, sigma_BT)
        return v_BCTHW + guidance * (v_BCTHW - negative_BCTHW)

    return velocity
