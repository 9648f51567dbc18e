"""Every random number of a training step, from (seed, step) alone: a resumed run repeats them exactly.

A clip's draws do not depend on which process, or which part of the batch, computes it.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from worldtune.diffusion.conditioning import MODES, known_frames
from worldtune.diffusion.edm import LOG_SIGMA_MEAN, flow_time, training_sigmas
from worldtune.diffusion.flow import high_sigmas, shifted_logit_normal
from worldtune.seeds import seed_of
from worldtune.training.recipe import Train


@dataclass(frozen=True)
class Draws:
    """noise like the latents; sigma_B; known_BT; dropped_B: whose text is dropped."""

    noise_BCTHW: Tensor
    sigma_B: Tensor
    known_BT: Tensor
    dropped_B: Tensor

    def to(self, device: torch.device) -> "Draws":
        return Draws(*(getattr(self, field.name).to(device) for field in fields(self)))


def training_draws(
    settings: Train, shift: float | None, step: int, shape: Sequence[int], places: Sequence[int]
) -> Draws:
    """What step `step` adds to the clips at `places` of its batch: noise, noise levels, modes and dropped prompts.

    `shape` is a clip's, (C, T, H, W); `shift` that of rectified flow's logit-normal σ, None says Predict 2's law.
    """
    generator, batch = torch.Generator().manual_seed(seed_of(settings.seed, step)), settings.batch
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
        torch.randn(shape, generator=torch.Generator().manual_seed(seed_of(settings.seed, step, place)))
        for place in places
    ]
    mine = list(places)
    return Draws(torch.stack(noises), sigma_B[mine], known_frames(k_B[mine], shape[1]), dropped_B[mine])


def held_out_draws(z_BCTHW: Tensor, mode: str, shift: float | None, quantile: float, clip_numbers: list[int]) -> Draws:
    """The fixed draw of each held-out clip at one quantile of the training noise levels."""
    frames = z_BCTHW.shape[2]
    k = next(k for k, name in MODES.items() if name == mode)
    noises = [
        torch.randn(z_BCTHW.shape[1:], generator=torch.Generator().manual_seed(number * 7919 + round(quantile * 1e6)))
        for number in clip_numbers
    ]
    batch = len(clip_numbers)
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(quantile))
    edm = flow_time(torch.exp(LOG_SIGMA_MEAN + normal))  # its rare high levels are left out
    sigma = edm if shift is None else shifted_logit_normal(normal, shift)
    return Draws(
        torch.stack(noises),
        sigma.expand(batch),
        known_frames(torch.full((batch,), k), frames),
        torch.zeros(batch, dtype=torch.bool),
    )
