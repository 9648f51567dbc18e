"""Held-out loss on fixed (clip, mode, σ, noise): two checkpoints are compared on the same draws.

Shapes: C clips, M modes, S noise levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.statistics import estimate
from worldtune.training.draws import held_out_draws
from worldtune.training.objective import loss_per_clip
from worldtune.training.team import ALONE, Team
from worldtune.worlds.world import World


@dataclass(frozen=True)
class HeldOutLosses:
    """loss_CMS of some clips; noise levels lie at the middles of S equal shares of training's."""

    clips: Sequence[LatentClip]
    modes: Sequence[str]
    loss_CMS: Tensor

    @property
    def mean(self) -> float:
        return self.loss_CMS.double().mean().item()

    def parts(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Mean and 95 % interval over episodes, by task, camera, mode and band of noise levels."""
        tasks, cameras = ([getattr(one.clip, name) for one in self.clips] for name in ("task", "camera"))
        bands = self.loss_CMS.shape[2]
        return {
            "task": self._by(tasks),
            "camera": self._by(cameras),
            "mode": {name: self._estimate(self.loss_CMS[:, m]) for m, name in enumerate(self.modes)},
            "sigma": {f"{s + 1}/{bands}": self._estimate(self.loss_CMS[:, :, s]) for s in range(bands)},
        }

    def _by(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {
            name: self._estimate(self.loss_CMS, [place for place, its in enumerate(names) if its == name])
            for name in sorted(set(names))
        }

    def _estimate(self, losses: Tensor, places: Sequence[int] | None = None) -> dict[str, Any]:
        chosen = list(range(len(self.clips))) if places is None else list(places)
        episodes = [f"{self.clips[place].clip.source}/{self.clips[place].clip.episode}" for place in chosen]
        found = estimate(losses[chosen].flatten(1).mean(1).tolist(), episodes)
        return {"mean": found.mean, "low": found.low, "high": found.high, "clips": found.n}


@torch.no_grad()
def measure_held_out(
    world: World,
    clips: Sequence[LatentClip],
    modes: Sequence[str],
    sigmas: int,
    shift: float | None,
    batch: int,
    team: Team = ALONE,
) -> HeldOutLosses:
    """Every clip's loss in every mode at `sigmas` noise levels; a team's processes share the clips.

    All compute as often, one that has no clip left with any: where the base is in shards, each pass needs them all.
    """
    loss_CMS = torch.zeros(len(clips), len(modes), sigmas)
    mine = team.share(len(clips))
    for first in range(0, team.largest_share(len(clips)), batch):
        numbers = list(mine[first : first + batch]) or [0]
        z_BCTHW, text_BND = load_batch([clips[number] for number in numbers])
        for m, mode in enumerate(modes):
            for s in range(sigmas):
                draws = held_out_draws(z_BCTHW, mode, shift, (s + 0.5) / sigmas, numbers)
                loss_B = loss_per_clip(world, z_BCTHW, text_BND, draws).cpu()
                if first < len(mine):
                    loss_CMS[numbers, m, s] = loss_B
    return HeldOutLosses(clips, modes, team.joined(loss_CMS))


def held_out_losses(
    world: World, clips: list[LatentClip], mode: str, sigmas: int, shift: float | None, batch: int
) -> list[float]:
    """The loss of each clip in one mode, averaged over `sigmas` noise levels."""
    return measure_held_out(world, clips, [mode], sigmas, shift, batch).loss_CMS.mean((1, 2)).tolist()
