"""Predict 2's text encoder against diffusers' own pipeline.

Shapes: B prompts, N tokens, D width.
"""

from pathlib import Path

import pytest
import torch

from support.stock import stock_predict2
from worldtune.errors import BaseError, RecipeError
from worldtune.models.load import open_world
from worldtune.models.text.t5 import T5Text
from worldtune.models.world import World

PROMPTS = ["the robot arm opens the drawer", "the square goes down", ""]
LONG = "the robot arm " * 20


@pytest.fixture(scope="module")
def world(tiny_predict2: Path) -> World:
    return open_world(str(tiny_predict2))


@torch.no_grad()
def test_embeddings_equal_diffusers_pipeline(world: World, tiny_predict2: Path) -> None:
    pipe = stock_predict2(tiny_predict2)
    length = world.text.length
    theirs_BND = pipe._get_t5_prompt_embeds([*PROMPTS, LONG], length, torch.device("cpu"), torch.float32)
    assert (world.encode_prompts([*PROMPTS, LONG], cut=True) - theirs_BND).abs().max() < 1e-6
    assert (theirs_BND[0] - theirs_BND[1]).abs().max() > 0.1


def test_padding_and_a_dropped_prompt_are_zero(world: World) -> None:
    text_BND = world.encode_prompts(PROMPTS)
    assert isinstance(world.text, T5Text)
    for prompt, text_ND in zip(PROMPTS, text_BND, strict=True):
        count = world.text.count(prompt)
        assert (text_ND[count:] == 0).all()
        assert (text_ND[:count].abs().amax(1) > 0).all()
    assert (world.no_text() == 0).all()
    assert world.no_text().shape == text_BND[:1].shape


def test_a_prompt_longer_than_the_base_reads_is_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="the prompt has 61 tokens with its chat template; the base reads 24"):
        world.encode_prompts([LONG])


def test_a_missing_tensor_is_refused(tiny_predict2: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_predict2, tmp_path / "base")
    weights = tmp_path / "base" / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["encoder.final_layer_norm.weight"]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(BaseError, match=r"encoder.final_layer_norm.weight is missing"):
        T5Text(tmp_path / "base", torch.device("cpu"), torch.float32).model  # noqa: B018
