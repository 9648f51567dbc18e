"""The sampler against diffusers' own pipeline, which reads the same folders.

Shapes: B clips, C channels, T frames, H×W pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Cosmos2_5_PredictBasePipeline
from torch import Tensor

from benchmarks.stock import stock_pipeline, torchvision_names
from support.adapters import SPECS, make_card, train_by_hand
from support.films import film
from support.progress import Recorded
from worldtune.adapters.folder import load_adapter, remove_adapter, save_adapter
from worldtune.diffusion.conditioning import MODES, conditioning_mask
from worldtune.generation.sampler import Guidance, guided, sample
from worldtune.models.load import open_world
from worldtune.models.world import World

PROMPT, NEGATIVE = "the square goes down", "blurry"
STEPS = 5
TOLERANCE = 1e-4  # of pixel values from 0 to 1
FILM = film(3, "the square goes right", (60, 100, 140))


@dataclass(frozen=True)
class Shape:
    """The size of the compared videos: frames and side in pixels."""

    frames: int
    side: int

    def noise(self) -> Tensor:
        latent = (1, 16, 1 + (self.frames - 1) // 4, self.side // 8, self.side // 8)
        return torch.randn(latent, generator=torch.Generator().manual_seed(5))

    def film(self) -> np.ndarray:
        return FILM.repeat(self.side // FILM.shape[1], 1).repeat(self.side // FILM.shape[2], 2)


@pytest.fixture(scope="module", params=["tiny", "pocket"])
def base(request: pytest.FixtureRequest, tiny_world: Path) -> tuple[Path, Shape]:
    """Two base folders: one with random weights, and the one that the package ships."""
    if request.param == "tiny":
        return tiny_world, Shape(9, 32)
    return open_world("pocket").folder, Shape(21, 64)


@pytest.fixture(scope="module")
def pipe(base: tuple[Path, Shape]) -> Cosmos2_5_PredictBasePipeline:
    return stock_pipeline(base[0])


@pytest.fixture
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


def noise() -> Tensor:
    return Shape(9, 32).noise()


def theirs(pipe: Cosmos2_5_PredictBasePipeline, shape: Shape, k: int, guidance: int) -> Tensor:
    """Return diffusers' video (T, 3, H, W) from 0 to 1."""
    given: dict[str, Any] = {}
    if k == 1:
        given["image"] = shape.film()[0]
    elif k == 2:
        given["video"] = torch.from_numpy(shape.film()).permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torchvision_names():
        return pipe(
            prompt=PROMPT, negative_prompt=NEGATIVE, height=shape.side, width=shape.side, num_frames=shape.frames,
            num_inference_steps=STEPS, guidance_scale=float(guidance), latents=shape.noise(), output_type="pt",
            max_sequence_length=64, **given,
        ).frames[0]  # fmt: skip


def ours(world: World, shape: Shape, k: int, guidance: int) -> Tensor:
    text_BND = world.encode_prompts([PROMPT, NEGATIVE])
    z_BCTHW = torch.full_like(shape.noise(), torch.nan)  # unknown latents must not be read
    if k:
        pictures_THWC = shape.film()[:1] if k == 1 else shape.film()[-5:]
        z_BCTHW[:, :, :k] = world.encode(torch.from_numpy(np.ascontiguousarray(pictures_THWC))[None])
    z_BCTHW = z_BCTHW.nan_to_num(0.0)
    cond_mask_BT = conditioning_mask(torch.tensor([k]), z_BCTHW.shape[2])
    prompts = Guidance(text_BND[:1], text_BND[1:], guidance)
    z_BCTHW = sample(world, prompts, shape.noise(), z_BCTHW, cond_mask_BT, steps=STEPS)
    return (world.codec.decode_float(z_BCTHW)[0].transpose(0, 1) + 1) / 2


@pytest.mark.parametrize("guidance", [0, 3])
@pytest.mark.parametrize("k", MODES, ids=MODES.values())
def test_video_equals_diffusers_pipeline(
    base: tuple[Path, Shape], pipe: Cosmos2_5_PredictBasePipeline, k: int, guidance: int
) -> None:
    folder, shape = base
    expected = theirs(pipe, shape, k, guidance)
    assert expected.shape == (shape.frames, 3, shape.side, shape.side)
    assert expected.std() > 0.05
    assert (ours(open_world(str(folder)), shape, k, guidance) - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", SPECS)
def test_diffusers_makes_the_same_video_with_our_adapter(base: tuple[Path, Shape], tmp_path: Path, name: str) -> None:
    folder, shape = base
    world = open_world(str(folder))
    bare = ours(world, shape, 1, 0)
    train_by_hand(world.denoiser, SPECS[name])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS[name], world.card.digest))
    remove_adapter(world.denoiser)
    load_adapter(tmp_path / "adapter", world.denoiser, world.card.digest)
    adapted = ours(world, shape, 1, 0)

    pipe = stock_pipeline(folder)
    pipe.load_lora_weights(tmp_path / "adapter")
    assert (adapted - theirs(pipe, shape, 1, 0)).abs().max() <= TOLERANCE
    assert (adapted - bare).abs().max() > 100 * TOLERANCE
    remove_adapter(world.denoiser)
    assert torch.equal(ours(world, shape, 1, 0), bare)


def test_known_frames_keep_their_latents(world: World) -> None:
    z_BCTHW = torch.randn(2, 16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    cond_mask_BT = conditioning_mask(torch.tensor([1, 2]), 3)
    text_BND = world.encode_prompts([PROMPT, NEGATIVE])
    noise_BCTHW = noise().expand(2, -1, -1, -1, -1)
    done = sample(world, Guidance(text_BND, text_BND, 2), noise_BCTHW, z_BCTHW, cond_mask_BT, steps=6)
    known = cond_mask_BT[:, None, :, None, None]
    expected = z_BCTHW + (noise() - z_BCTHW) / 201  # the path begins at σ = 200/201, not at 1
    assert (known * (done - expected)).abs().max() < 1e-4
    assert ((1 - known) * (done - expected)).abs().max() > 0.1


def test_clips_of_a_batch_are_independent(world: World) -> None:
    text_BND = world.encode_prompts([PROMPT, NEGATIVE])
    noise_BCTHW = torch.randn(2, 16, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    z_BCTHW, cond_mask_BT = torch.zeros_like(noise_BCTHW), conditioning_mask(torch.tensor([0, 1]), 3)
    prompts = Guidance(text_BND, text_BND.flip(0), 2)
    both = sample(world, prompts, noise_BCTHW, z_BCTHW, cond_mask_BT, steps=3)
    for i in range(2):
        one = slice(i, i + 1)
        prompts = Guidance(text_BND[one], text_BND.flip(0)[one], 2)
        alone = sample(world, prompts, noise_BCTHW[one], z_BCTHW[one], cond_mask_BT[one], steps=3)
        assert (alone[0] - both[i]).abs().max() < 1e-4


def test_every_evaluation_is_reported(world: World) -> None:
    progress = Recorded()
    text_BND = world.encode_prompts([PROMPT])
    z_BCTHW, cond_mask_BT = torch.zeros_like(noise()), torch.zeros(1, 3)
    sample(world, Guidance(text_BND, text_BND, 0), noise(), z_BCTHW, cond_mask_BT, steps=4, progress=progress)
    assert progress.counts == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_batched_guidance_equals_two_calls(world: World) -> None:
    text_BND = world.encode_prompts([PROMPT, NEGATIVE])
    cond_mask_BT, sigma_BT = conditioning_mask(torch.tensor([1]), 3), torch.full((1, 3), 0.7)
    one, two = (
        guided(world, Guidance(text_BND[:1], text_BND[1:], 3.0), cond_mask_BT, batched=batched)(noise(), sigma_BT)
        for batched in (False, True)
    )
    plain, negative = (world.velocity(noise(), sigma_BT, cond_mask_BT, text_BND[i : i + 1]) for i in range(2))
    assert (one - (plain + 3 * (plain - negative))).abs().max() < 1e-5
    assert (two - one).abs().max() < 1e-4
