"""Held-out loss on fixed (clip, mode, σ, noise), so that checkpoints are compared on the same draws.

Shapes: C clips, M modes, S noise levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worldtune.adapters.actions import form_of
from worldtune.core.statistics import estimate_mean
from worldtune.latents.action_batch import clip_actions
from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.models.world import World
from worldtune.training.data.sampling_noise import held_out_draws
from worldtune.training.distributed import SINGLE_PROCESS, Distributed
from worldtune.training.flow_matching_loss import loss_per_clip


@dataclass(frozen=True)
class HeldOutLosses:
    """The losses loss_CMS of some clips, at noise levels in the middle of S equal quantile bands of training's."""

    clips: Sequence[LatentClip]
    modes: Sequence[str]
    loss_CMS: Tensor

    @property
    def mean(self) -> float:
        return self.loss_CMS.double().mean().item()

    def parts(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the mean and its 95 % interval over episodes, by task, camera, mode and band of noise levels."""
        tasks, cameras = ([getattr(latent.clip, name) for latent in self.clips] for name in ("task", "camera"))
        bands = self.loss_CMS.shape[2]
        return {
            "task": self._by(tasks),
            "camera": self._by(cameras),
            "mode": {name: self._estimate(self.loss_CMS[:, m]) for m, name in enumerate(self.modes)},
            "sigma": {f"{s + 1}/{bands}": self._estimate(self.loss_CMS[:, :, s]) for s in range(bands)},
        }

    def _by(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {
            name: self._estimate(self.loss_CMS, [index for index, value in enumerate(names) if value == name])
            for name in sorted(set(names))
        }

    def _estimate(self, losses: Tensor, indices: Sequence[int] | None = None) -> dict[str, Any]:
        chosen = list(range(len(self.clips))) if indices is None else list(indices)
        episodes = [f"{self.clips[index].clip.source}/{self.clips[index].clip.episode}" for index in chosen]
        estimate = estimate_mean(losses[chosen].flatten(1).mean(1).tolist(), episodes)
        return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "clips": estimate.n}


@torch.no_grad()
def measure_held_out(
    world: World,
    clips: Sequence[LatentClip],
    modes: Sequence[str],
    sigmas: int,
    shift: float | None,
    batch: int,
    distributed: Distributed = SINGLE_PROCESS,
) -> HeldOutLosses:
    """Measure the loss of each clip in each mode at `sigmas` noise levels; the replicas share the clips.

    All replicas run the same number of passes, because a sharded base needs all of them in each pass: one without
    clips computes the first clip again and drops the result.
    """
    loss_CMS = torch.zeros(len(clips), len(modes), sigmas)
    mine = distributed.shard(len(clips))
    for first in range(0, distributed.largest_shard(len(clips)), batch):
        numbers = list(mine[first : first + batch]) or [0]
        batch_clips = [clips[number] for number in numbers]
        z_BCTHW, text_BND = load_batch(batch_clips)
        actions = clip_actions(form_of(world.denoiser), batch_clips, z_BCTHW.shape[2])
        for m, mode in enumerate(modes):
            for s in range(sigmas):
                draws = held_out_draws(z_BCTHW, mode, shift, (s + 0.5) / sigmas, numbers)
                loss_B = loss_per_clip(world, z_BCTHW, text_BND, draws, actions).cpu()
                if first < len(mine):
                    loss_CMS[numbers, m, s] = loss_B
    return HeldOutLosses(clips, modes, distributed.all_reduce(loss_CMS))


def held_out_losses(
    world: World, clips: list[LatentClip], mode: str, sigmas: int, shift: float | None, batch: int
) -> list[float]:
    """Return the loss of each clip in one mode, averaged over `sigmas` noise levels."""
    return measure_held_out(world, clips, [mode], sigmas, shift, batch).loss_CMS.mean((1, 2)).tolist()
