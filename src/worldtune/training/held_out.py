"""Held-out loss on fixed (clip, σ, noise): two checkpoints are compared on the same draws."""

import torch

from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.training.draws import held_out_draws
from worldtune.training.objective import loss_per_clip
from worldtune.worlds.world import World


@torch.no_grad()
def held_out_losses(
    world: World, clips: list[LatentClip], mode: str, sigmas: int, shift: float | None, batch: int
) -> list[float]:
    """The loss of each clip, averaged over `sigmas` noise levels at the middles of equal shares of training's."""
    losses = torch.zeros(len(clips))
    for first in range(0, len(clips), batch):
        part = clips[first : first + batch]
        z_BCTHW, text_BND = load_batch(part)
        numbers = list(range(first, first + len(part)))
        for index in range(sigmas):
            draws = held_out_draws(z_BCTHW, mode, shift, (index + 0.5) / sigmas, numbers)
            losses[numbers] += loss_per_clip(world, z_BCTHW, text_BND, draws).cpu() / sigmas
    return losses.tolist()
