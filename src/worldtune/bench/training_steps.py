"""One training step as the trainer takes it, on clips that are encoded already, as a piece of work to be timed.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from dataclasses import replace

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.ratio import Work
from worldtune.diffusion.conditioning import known_frames
from worldtune.diffusion.flow import shifted_logit_normal
from worldtune.planning.blank import blank_world
from worldtune.planning.meter import default_dtype
from worldtune.training.draws import Draws
from worldtune.training.objective import loss_per_clip
from worldtune.training.recipe import Train
from worldtune.training.state import TrainingState
from worldtune.worlds.catalog import BY_NAME
from worldtune.worlds.world import World

SHIFT, TEXT_DROPOUT, RATE = 5.0, 0.2, 2**-14.5
BASE_2B = BY_NAME["predict2.5-2b/post-trained"]


def draw(count: int, shape: tuple[int, ...]) -> Draws:
    """What both sides of a ratio draw for `count` clips of `shape`: image2world and video2world, half of each."""
    k_B = torch.randint(1, 3, (count,))
    return Draws(
        torch.randn(count, *shape),
        shifted_logit_normal(torch.randn(count), SHIFT),
        known_frames(k_B, shape[1]),
        torch.rand(count) < TEXT_DROPOUT,
    )


def our_step(world: World, spec: AdapterSpec, clips: tuple[Tensor, Tensor], no_text_1ND: Tensor) -> Work:
    """A step of a new adapter on z_BCTHW and text_BND, its draws included; each call is the next."""
    return step_of(world, TrainingState(inject(world.denoiser, spec, seed=0), Train(lr=RATE)), clips, no_text_1ND)


def step_of(world: World, state: TrainingState, clips: tuple[Tensor, Tensor], no_text_1ND: Tensor) -> Work:
    """The same of an adapter that is there."""
    z_BCTHW, text_BND = clips

    def step() -> None:
        state.forget_gradients()
        draws = draw(len(z_BCTHW), tuple(z_BCTHW.shape[1:]))
        given_BND = torch.where(draws.dropped_B[:, None, None], no_text_1ND, text_BND)
        loss_per_clip(world, z_BCTHW, given_BND, draws).mean().backward()
        state.clip_gradients()
        state.move(1.0, 1)

    return step


def two_blocks(heads: int, dtype: torch.dtype = torch.bfloat16) -> CosmosTransformer3DModel:
    """Two blocks as the 2B's, which have 16 heads, of random weights, frozen; text comes to them projected already."""
    config = BASE_2B.architecture.config() | {
        "num_attention_heads": heads, "num_layers": 2, "use_crossattn_projection": False,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]), default_dtype(dtype):
        torch.manual_seed(0)
        return CosmosTransformer3DModel(**config).requires_grad_(False)


def as_world(denoiser: CosmosTransformer3DModel) -> World:
    """The denoiser as the trainer calls it, with the 2B's card."""
    return blank_world(replace(BASE_2B, name="two blocks"), denoiser)


def random_clips(side: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """z_BCTHW of one clip of 6 latent frames of `side`, and text_BND of 512 tokens."""
    return torch.randn(1, 16, 6, *side), torch.randn(1, 512, BASE_2B.architecture.text_dim)
