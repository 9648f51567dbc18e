"""Predict 2 through the same sampler, against diffusers' own pipeline.

At fps=24 the pipeline's positions in time count latent frames, as in NVIDIA's training
(github.com/nvidia-cosmos/cosmos-predict2, `rope_enable_fps_modulation=False`) and always in worldtune.

Shapes: B clips, C channels, T frames, H×W pixels.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.stock import torchvision_names
from support.films import film
from support.stock import stock_predict2
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.errors import BaseError, RecipeError
from worldtune.generation.request import GenerationRequest
from worldtune.generation.sampler import Guidance, sample
from worldtune.generation.validate_request import resolve
from worldtune.models.load import open_world

PROMPT, NEGATIVE, STEPS = "the square goes down", "the drawer", 5
FILM = film(3, "the square goes right", (60, 100, 140))


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("guidance", [0, 7])
@pytest.mark.parametrize("k", [1, 2])
def test_latents_equal_the_pipeline(tiny_predict2: Path, noise: Tensor, k: int, guidance: int) -> None:
    world, pipe = open_world(str(tiny_predict2)), stock_predict2(tiny_predict2)
    # The pipeline samples the VAE's posterior, worldtune uses its mean: make the variance as small as possible.
    with torch.no_grad():
        pipe.vae.quant_conv.weight[16:] = 0
        pipe.vae.quant_conv.bias[16:] = -60
    given_TCHW = torch.from_numpy(FILM[: 1 + 4 * (k - 1)].copy()).permute(0, 3, 1, 2) / 255
    given: dict[str, Any] = {"video": given_TCHW[None]}
    with torchvision_names():
        theirs = pipe(
            prompt=PROMPT, negative_prompt=NEGATIVE, height=32, width=32, num_frames=9, num_inference_steps=STEPS,
            guidance_scale=float(guidance) if guidance else 1.0, latents=noise, output_type="latent", fps=24,
            max_sequence_length=world.text.length, **given,
        ).frames  # fmt: skip
    if guidance == 0:  # in the pipeline 1 means no guidance
        assert not pipe.do_classifier_free_guidance
    text_BND, negative_BND = world.encode_prompts([PROMPT]), world.encode_prompts([NEGATIVE])
    z_BCTHW = torch.zeros_like(noise)
    z_BCTHW[:, :, :k] = world.encode(torch.from_numpy(FILM[: 1 + 4 * (k - 1)].copy())[None])
    evaluations = world.card.schedule.evaluations(STEPS)
    assert evaluations == STEPS - 1  # the pipeline's last evaluation changes nothing
    cond_mask_BT = conditioning_mask(torch.tensor([k]), 3)
    prompts = Guidance(text_BND, negative_BND, guidance)
    ours = sample(world, prompts, noise, z_BCTHW, cond_mask_BT, steps=evaluations)
    assert (ours - theirs).abs().max() <= 2e-5 * theirs.abs().max()
    assert (ours[:, :, k:] - noise[:, :, k:]).abs().max() > 0.1


def test_text2world_without_an_image_is_an_error(tiny_predict2: Path) -> None:
    world = open_world(str(tiny_predict2))
    request = GenerationRequest(
        name="a", inference_type="text2world", prompt=PROMPT, resolution="32,32", num_output_frames=9
    )
    with pytest.raises(RecipeError, match="needs an image"):
        resolve(world, request)


def test_a_trained_as_name_of_another_family_is_an_error(tiny_predict2: Path, tiny_world: Path) -> None:
    for folder, stated in ((tiny_predict2, "predict2.5-2b/post-trained"), (tiny_world, "predict2-2b/video2world")):
        with pytest.raises(BaseError, match=f"was not trained as {stated}"):
            open_world(f"{stated}={folder}")
