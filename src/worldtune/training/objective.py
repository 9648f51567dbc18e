"""One clip's loss under given draws: the rectified-flow objective with known frames.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from torch import Tensor

from worldtune.diffusion.conditioning import frame_sigmas, give_frames
from worldtune.diffusion.flow import interpolate, velocity
from worldtune.diffusion.objective import squared_error_per_clip
from worldtune.training.draws import Draws
from worldtune.worlds.world import World


def predicted_velocity(world: World, z_BCTHW: Tensor, text_BND: Tensor, draws: Draws) -> Tensor:
    """v_BCTHW of the noised latents, their known frames given clean."""
    x_BCTHW = give_frames(interpolate(z_BCTHW, draws.noise_BCTHW, draws.sigma_B), z_BCTHW, draws.known_BT)
    sigma_BT = frame_sigmas(draws.sigma_B, draws.known_BT, world.card.schedule.conditional_sigma)
    return world.velocity(x_BCTHW, sigma_BT, draws.known_BT, text_BND)


def loss_per_clip(world: World, z_BCTHW: Tensor, text_BND: Tensor, draws: Draws) -> Tensor:
    """loss_B: mean square error of the velocity over all elements, zero in known frames."""
    v_BCTHW = predicted_velocity(world, z_BCTHW, text_BND, draws)
    return squared_error_per_clip(v_BCTHW, velocity(z_BCTHW, draws.noise_BCTHW), draws.known_BT)
