import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.stock import stock_pipeline
from worldtune.errors import BaseError, RecipeError
from worldtune.models.load import open_world
from worldtune.models.text.reason1 import SYSTEM, TextEncoder
from worldtune.models.world import World

PROMPTS = ["Seen from above: the robot arm opens the drawer.", "the square goes down", ""]


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@torch.no_grad()
def test_embeddings_equal_diffusers_pipeline(world: World, tiny_world: Path) -> None:
    pipe = stock_pipeline(tiny_world)
    embeddings_BNE = pipe._get_prompt_embeds(PROMPTS, max_sequence_length=world.text.length)
    assert (world.text.embed(PROMPTS) - embeddings_BNE).abs().max() < 1e-5
    theirs = pipe.transformer.crossattn_proj(embeddings_BNE)
    assert (world.encode_prompts(PROMPTS) - theirs).abs().max() < 1e-5
    assert (theirs[0] - theirs[1]).abs().max() > 0.1


def test_prompts_of_a_batch_are_independent(world: World) -> None:
    together = world.encode_prompts(PROMPTS)
    for prompt, text_ND in zip(PROMPTS, together, strict=True):
        assert (world.encode_prompts([prompt])[0] - text_ND).abs().max() < 1e-5


@torch.no_grad()
def test_a_long_prompt_is_refused_or_truncated_like_diffusers(world: World, tiny_world: Path) -> None:
    long = " ".join(["the robot arm opens the drawer and"] * 20)
    embeddings_BNE = stock_pipeline(tiny_world)._get_prompt_embeds(long, max_sequence_length=world.text.length)
    assert (world.text.embed([long], cut=True) - embeddings_BNE).abs().max() < 1e-5
    with pytest.raises(RecipeError, match="the base reads 64") as refusal:
        world.encode_prompts([long])
    assert len(str(refusal.value)) < 250


def test_a_dropped_prompt_is_the_projection_of_zeros(world: World) -> None:
    text_1ND = world.no_text()
    bias_D = world.denoiser.crossattn_proj[0].bias
    assert text_1ND.shape == (1, world.text.length, 32)
    assert torch.allclose(text_1ND[0], torch.nn.functional.gelu(bias_D).expand(world.text.length, -1), atol=1e-6)
    assert text_1ND.abs().max() > 0.01


def test_tokens_are_the_chat_template_padded_to_the_length(world: World) -> None:
    tokens = world.text._tokens("the square goes down")
    chat = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nthe square goes down<|im_end|>\n"
    assert len(tokens) == world.text.length == 64
    assert world.text.tokenizer.decode(tokens).rstrip() == chat + "<|endoftext|>" * (
        64 - len(world.text.tokenizer(chat)["input_ids"])
    )


def test_the_length_is_at_most_512(tiny_world: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_world, tmp_path / "base")
    config = tmp_path / "base" / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 131072}))
    assert TextEncoder(tmp_path / "base", torch.device("cpu"), torch.float32).length == 512


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "cut", "config", "tokenizer"])
def test_an_invalid_encoder_is_refused(tiny_world: Path, tmp_path: Path, change: str) -> None:
    shutil.copytree(tiny_world, tmp_path / "base")
    folder = tmp_path / "base" / "text_encoder"
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    if change == "missing":
        del tensors["model.layers.0.mlp.down_proj.weight"]
    elif change == "unknown":
        tensors["model.layers.9.mlp.down_proj.weight"] = torch.zeros(2)
    elif change == "shape":
        tensors["model.layers.0.mlp.down_proj.weight"] = torch.zeros(2, 2)
    save_file(tensors, weights, metadata={"format": "pt"})
    if change == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif change == "config":
        (folder / "config.json").unlink()
    elif change == "tokenizer":
        (tmp_path / "base" / "tokenizer" / "tokenizer_config.json").unlink()
    with pytest.raises(BaseError) as refusal:
        TextEncoder(tmp_path / "base", torch.device("cpu"), torch.float32).model  # noqa: B018
    assert "\n" not in str(refusal.value)


def test_the_encoder_of_another_model_is_refused(tiny_world: Path, tiny_predict2: Path, tmp_path: Path) -> None:
    """The error comes before transformers fills a default model of billions of weights."""
    shutil.copytree(tiny_world / "tokenizer", tmp_path / "base" / "tokenizer")
    shutil.copytree(tiny_predict2 / "text_encoder", tmp_path / "base" / "text_encoder")
    with pytest.raises(BaseError, match="the text encoder is a t5, not a qwen2_5_vl"):
        TextEncoder(tmp_path / "base", torch.device("cpu"), torch.float32).model  # noqa: B018


@pytest.mark.parametrize("place", ["chat_template.jinja", "additional_chat_templates/default.jinja"])
@pytest.mark.parametrize("template", ["another prompt", "{{ 1 / 0 }}", "{% for", "{% for a in range(99999) %}" * 3])
def test_a_folder_s_chat_template_is_not_run(tiny_world: Path, tmp_path: Path, place: str, template: str) -> None:
    """A template in a subfolder is not part of the base's digest either."""
    shutil.copytree(tiny_world, tmp_path / "base")
    path = tmp_path / "base" / "tokenizer" / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(template)
    text = TextEncoder(tmp_path / "base", torch.device("cpu"), torch.float32)
    chat = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\na robot<|im_end|>\n"
    assert text.tokenizer.decode(text._tokens("a robot")).startswith(f"{chat}<|endoftext|>")
