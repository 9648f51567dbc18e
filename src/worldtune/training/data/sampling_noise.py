"""The random numbers of a training step, from (seed, step) alone, so that a resumed run repeats them exactly.

A clip's draws do not depend on which process or micro-batch computes it.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from worldtune.core.seeds import derive_seed
from worldtune.diffusion.conditioning import MODES, conditioning_mask
from worldtune.diffusion.edm import LOG_SIGMA_MEAN, flow_time, training_sigmas
from worldtune.diffusion.flow import high_sigmas, shifted_logit_normal
from worldtune.training.recipe import Train


@dataclass(frozen=True)
class NoiseDraws:
    """The draws of B clips: noise, noise levels, masks of known frames; `dropped_B` marks dropped prompts."""

    noise_BCTHW: Tensor
    sigma_B: Tensor
    cond_mask_BT: Tensor
    dropped_B: Tensor

    def to(self, device: torch.device) -> "NoiseDraws":
        return NoiseDraws(*(getattr(self, field.name).to(device) for field in fields(self)))


def training_draws(
    settings: Train, shift: float | None, step: int, shape: Sequence[int], places: Sequence[int]
) -> NoiseDraws:
    """Return the draws of step `step` for the clips at `places` of its batch.

    `shape` is a clip's, (C, T, H, W). `shift` is that of rectified flow's logit-normal σ; None selects the noise
    levels of Predict 2.
    """
    generator, batch = torch.Generator().manual_seed(derive_seed(settings.seed, step)), settings.batch
    probabilities = torch.tensor([settings.modes.get(mode, 0.0) for mode in MODES.values()])
    k_B = torch.multinomial(probabilities, batch, replacement=True, generator=generator)
    normal_B = torch.randn(batch, generator=generator)
    dropped_B = torch.rand(batch, generator=generator) < settings.text_dropout
    uniform_B, high_B = torch.rand(2, batch, generator=generator)
    if shift is None:
        sigma_B = flow_time(training_sigmas(normal_B, uniform_B, high_B))
    else:
        usual_B = shifted_logit_normal(normal_B, shift)
        sigma_B = torch.where(high_B < settings.high_sigma, high_sigmas(uniform_B), usual_B)
    noises = [
        torch.randn(shape, generator=torch.Generator().manual_seed(derive_seed(settings.seed, step, place)))
        for place in places
    ]
    mine = list(places)
    return NoiseDraws(torch.stack(noises), sigma_B[mine], conditioning_mask(k_B[mine], shape[1]), dropped_B[mine])


def held_out_draws(
    z_BCTHW: Tensor, mode: str, shift: float | None, quantile: float, clip_numbers: list[int]
) -> NoiseDraws:
    """Return the fixed draw of each held-out clip at one quantile of the training noise levels."""
    frames = z_BCTHW.shape[2]
    k = next(k for k, name in MODES.items() if name == mode)
    noises = [
        torch.randn(z_BCTHW.shape[1:], generator=torch.Generator().manual_seed(number * 7919 + round(quantile * 1e6)))
        for number in clip_numbers
    ]
    batch = len(clip_numbers)
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(quantile))
    edm = flow_time(torch.exp(LOG_SIGMA_MEAN + normal))  # without its rare high levels
    sigma = edm if shift is None else shifted_logit_normal(normal, shift)
    return NoiseDraws(
        torch.stack(noises),
        sigma.expand(batch),
        conditioning_mask(torch.full((batch,), k), frames),
        torch.zeros(batch, dtype=torch.bool),
    )
