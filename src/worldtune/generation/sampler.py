"""The sampler: from noise to latents along the base's schedule; known frames keep their given latents.

Guidance is v + g·(v − v_negative), as NVIDIA and diffusers' Cosmos pipelines define it. All velocities come from one
call of the denoiser with several times the clips, except for videos above `BATCHED_LATENTS`.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py` and `pipeline_cosmos2_video2world.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from worldtune.core.progress import Progress, silent
from worldtune.diffusion.action_embedder import ActionInputs
from worldtune.diffusion.conditioning import apply_conditioning, frame_sigmas
from worldtune.generation.solvers import open_solver
from worldtune.models.transformer.denoiser import TextKeysValues
from worldtune.models.world import World

BATCHED_LATENTS = 2_000_000  # of B·C·T·H·W: above, the two velocities of guidance are computed one after the other


class Branch(NamedTuple):
    """One velocity: its text and actions, and the strength with which guidance moves away from it."""

    text_BND: Tensor
    actions: ActionInputs | None
    strength: float


@dataclass(frozen=True)
class Guidance:
    """The encoded prompts and the strength g of guidance; at 0 `negative_BND` is not used.

    `actions` are what an action-conditioned model reads, on its device. `action_strength` a adds a·(v − v without
    actions), which needs a model that was trained with dropped actions.
    """

    text_BND: Tensor
    negative_BND: Tensor
    strength: float
    actions: ActionInputs | None = None
    action_strength: float = 0.0

    def branches(self) -> list[Branch]:
        """Return the velocities to compute; the first one is guided away from the others."""
        branches = [Branch(self.text_BND, self.actions, 0.0)]
        if self.strength:
            branches.append(Branch(self.negative_BND, self.actions, self.strength))
        if self.actions is not None and self.action_strength:
            none = self.actions.without(torch.ones(len(self.text_BND), dtype=torch.bool, device=self.text_BND.device))
            branches.append(Branch(self.text_BND, none, self.action_strength))
        return branches


@torch.no_grad()
def sample(
    world: World,
    guidance: Guidance,
    noise_BCTHW: Tensor,
    z_BCTHW: Tensor,
    cond_mask_BT: Tensor,
    *,
    steps: int,
    progress: Progress = silent,
) -> Tensor:
    """Return normalized latents of B videos after `steps` evaluations (of twice the clips with guidance).

    `z_BCTHW` holds the clean latents where `cond_mask_BT` is 1; its other values do not matter.
    """
    schedule = world.card.schedule
    solver = open_solver(schedule, steps, noise_BCTHW)
    velocity = guided(world, guidance, cond_mask_BT, batched=noise_BCTHW.numel() <= BATCHED_LATENTS)
    known = cond_mask_BT[:, None, :, None, None]
    begin = solver.sigmas[0].item() if schedule.kind == "edm" else 1.0  # EDM begins at σ·ε, rectified flow at ε
    known_velocity = (noise_BCTHW - z_BCTHW / begin) * known
    x_BCTHW = begin * noise_BCTHW
    for step, timestep in enumerate(solver.timesteps):
        sigma_B = solver.sigmas[step].to(world.device).expand(len(x_BCTHW))
        sigma_BT = frame_sigmas(sigma_B, cond_mask_BT, schedule.conditional_sigma)
        v_BCTHW = velocity(apply_conditioning(x_BCTHW, z_BCTHW, cond_mask_BT), sigma_BT)
        v_BCTHW = known_velocity + v_BCTHW * (1 - known)
        x_BCTHW = solver.step(v_BCTHW, timestep, x_BCTHW, return_dict=False)[0]
        progress(step + 1, steps)
    return x_BCTHW / (1 - solver.sigmas[-1].item())  # EDM ends above σ = 0, with latents not scaled down


def guided(
    world: World, guidance: Guidance, cond_mask_BT: Tensor, *, batched: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function from (x_BCTHW, sigma_BT) to the guided v_BCTHW; all texts are cached now, once."""
    branches = guidance.branches()
    groups = [branches] if batched else [[branch] for branch in branches]
    conditions = [_condition(world, group, cond_mask_BT) for group in groups]

    def velocity(x_BCTHW: Tensor, sigma_BT: Tensor) -> Tensor:
        velocities: list[Tensor] = []
        for group, (text, actions, mask_BT) in zip(groups, conditions, strict=True):
            x, sigma = (torch.cat([t] * len(group)) if len(group) > 1 else t for t in (x_BCTHW, sigma_BT))
            velocities += world.velocity(x, sigma, mask_BT, text, actions).chunk(len(group))
        v_BCTHW, *others = velocities
        result_BCTHW = v_BCTHW
        for branch, other_BCTHW in zip(branches[1:], others, strict=True):
            result_BCTHW = result_BCTHW + branch.strength * (v_BCTHW - other_BCTHW)
        return result_BCTHW

    return velocity


def _condition(
    world: World, group: Sequence[Branch], cond_mask_BT: Tensor
) -> tuple[TextKeysValues, ActionInputs | None, Tensor]:
    """Return the cached text, the actions and the mask of some branches that are computed at once."""
    text = world.cache_text_kv(torch.cat([branch.text_BND for branch in group]))
    actions = [branch.actions for branch in group if branch.actions is not None]
    joined = ActionInputs(*map(torch.cat, zip(*actions, strict=True))) if actions else None
    return text, joined, torch.cat([cond_mask_BT] * len(group))
