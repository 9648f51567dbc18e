"""The loss of clips for given noise draws: the rectified-flow objective with known frames.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from typing import NamedTuple

from torch import Tensor

from worldtune.diffusion.action_embedder import ActionInputs
from worldtune.diffusion.conditioning import apply_conditioning, frame_sigmas
from worldtune.diffusion.flow import interpolate, velocity
from worldtune.diffusion.loss import squared_error_per_clip
from worldtune.models.world import World
from worldtune.training.data.sampling_noise import NoiseDraws


class Prediction(NamedTuple):
    """The predicted and the true velocity, and the mask of known latent frames, all on the base's device."""

    v_BCTHW: Tensor
    target_BCTHW: Tensor
    cond_mask_BT: Tensor


def predict(
    world: World, z_BCTHW: Tensor, text_BND: Tensor, draws: NoiseDraws, actions: ActionInputs | None = None
) -> Prediction:
    """Predict the velocity of the noised latents with clean known frames. Inputs may be on another device."""
    z_BCTHW, text_BND, draws = z_BCTHW.to(world.device), text_BND.to(world.device), draws.to(world.device)
    x_BCTHW = apply_conditioning(interpolate(z_BCTHW, draws.noise_BCTHW, draws.sigma_B), z_BCTHW, draws.cond_mask_BT)
    sigma_BT = frame_sigmas(draws.sigma_B, draws.cond_mask_BT, world.card.schedule.conditional_sigma)
    actions = actions and actions.to(world.device)
    v_BCTHW = world.velocity(x_BCTHW, sigma_BT, draws.cond_mask_BT, text_BND, actions)
    return Prediction(v_BCTHW, velocity(z_BCTHW, draws.noise_BCTHW), draws.cond_mask_BT)


def loss_per_clip(
    world: World, z_BCTHW: Tensor, text_BND: Tensor, draws: NoiseDraws, actions: ActionInputs | None = None
) -> Tensor:
    """Return loss_B: the mean square error of the velocity over all elements, zero in known frames."""
    return squared_error_per_clip(*predict(world, z_BCTHW, text_BND, draws, actions))
