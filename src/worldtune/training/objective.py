"""One clip's loss under given draws: the rectified-flow objective with known frames.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from typing import NamedTuple

from torch import Tensor

from worldtune.diffusion.conditioning import frame_sigmas, give_frames
from worldtune.diffusion.flow import interpolate, velocity
from worldtune.diffusion.objective import squared_error_per_clip
from worldtune.training.draws import Draws
from worldtune.worlds.world import World


class Prediction(NamedTuple):
    """v_BCTHW as predicted and as it is, and which latent frames were given, all where the base computes."""

    v_BCTHW: Tensor
    target_BCTHW: Tensor
    known_BT: Tensor


def predict(world: World, z_BCTHW: Tensor, text_BND: Tensor, draws: Draws) -> Prediction:
    """The velocity of the noised latents, their known frames given clean. The inputs may be on another device."""
    z_BCTHW, text_BND, draws = z_BCTHW.to(world.device), text_BND.to(world.device), draws.to(world.device)
    x_BCTHW = give_frames(interpolate(z_BCTHW, draws.noise_BCTHW, draws.sigma_B), z_BCTHW, draws.known_BT)
    sigma_BT = frame_sigmas(draws.sigma_B, draws.known_BT, world.card.schedule.conditional_sigma)
    v_BCTHW = world.velocity(x_BCTHW, sigma_BT, draws.known_BT, text_BND)
    return Prediction(v_BCTHW, velocity(z_BCTHW, draws.noise_BCTHW), draws.known_BT)


def loss_per_clip(world: World, z_BCTHW: Tensor, text_BND: Tensor, draws: Draws) -> Tensor:
    """loss_B: mean square error of the velocity over all elements, zero in known frames."""
    return squared_error_per_clip(*predict(world, z_BCTHW, text_BND, draws))
