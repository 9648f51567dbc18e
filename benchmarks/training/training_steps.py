"""One step of the trainer on encoded clips, as a function to be timed.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from dataclasses import replace

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from benchmarks.ratio import Work
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.diffusion.flow import shifted_logit_normal
from worldtune.models.catalog import BY_NAME
from worldtune.models.world import World
from worldtune.planning.memory_tracker import default_dtype
from worldtune.planning.meta_models import meta_world
from worldtune.training.data.sampling_noise import NoiseDraws
from worldtune.training.flow_matching_loss import loss_per_clip
from worldtune.training.recipe import Train
from worldtune.training.state import TrainingState

SHIFT, TEXT_DROPOUT, RATE = 5.0, 0.2, 2**-14.5
BASE_2B = BY_NAME["predict2.5-2b/post-trained"]


def draw(count: int, shape: tuple[int, ...]) -> NoiseDraws:
    """Draw noise for `count` clips of `shape`, half of them image2world and half video2world."""
    k_B = torch.randint(1, 3, (count,))
    return NoiseDraws(
        torch.randn(count, *shape),
        shifted_logit_normal(torch.randn(count), SHIFT),
        conditioning_mask(k_B, shape[1]),
        torch.rand(count) < TEXT_DROPOUT,
    )


def our_step(world: World, spec: AdapterSpec, clips: tuple[Tensor, Tensor], no_text_1ND: Tensor) -> Work:
    """Return a step of a new adapter on z_BCTHW and text_BND with its noise draws; each call is the next step."""
    return step_of(world, TrainingState(inject(world.denoiser, spec, seed=0), Train(lr=RATE)), clips, no_text_1ND)


def step_of(world: World, state: TrainingState, clips: tuple[Tensor, Tensor], no_text_1ND: Tensor) -> Work:
    """Return a step of the adapter of `state`, as `our_step` does."""
    z_BCTHW, text_BND = clips

    def step() -> None:
        state.zero_grad()
        draws = draw(len(z_BCTHW), tuple(z_BCTHW.shape[1:]))
        step_text_BND = torch.where(draws.dropped_B[:, None, None], no_text_1ND, text_BND)
        loss_per_clip(world, z_BCTHW, step_text_BND, draws).mean().backward()
        state.clip_gradients()
        state.step(1.0, 1)

    return step


def two_blocks(heads: int, dtype: torch.dtype = torch.bfloat16) -> CosmosTransformer3DModel:
    """Return two frozen blocks like the 2B's (16 heads there) with random weights, which take projected text."""
    config = BASE_2B.architecture.config() | {
        "num_attention_heads": heads, "num_layers": 2, "use_crossattn_projection": False,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]), default_dtype(dtype):
        torch.manual_seed(0)
        return CosmosTransformer3DModel(**config).requires_grad_(False)


def as_world(denoiser: CosmosTransformer3DModel) -> World:
    """Return the denoiser as the trainer uses it, with the 2B's card."""
    return meta_world(replace(BASE_2B, name="two blocks"), denoiser)


def random_clips(side: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return z_BCTHW of one clip of 6 latent frames of `side`, and text_BND of 512 tokens."""
    return torch.randn(1, 16, 6, *side), torch.randn(1, 512, BASE_2B.architecture.text_dim)
