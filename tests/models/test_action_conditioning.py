"""A base that reads actions itself: NVIDIA's checkpoint with action embedders, tiny and random."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import worldtune as wt
from support.acting import acting_recipe_data, write_acting_dataset
from support.tiny_world import FIRST_LOSS, randomize
from support.training import small_data
from worldtune.adapters.actions import form_of, owns_embedders
from worldtune.adapters.card import EMBEDDER, read_card
from worldtune.adapters.folder import load_adapter, remove_adapter
from worldtune.core.settings import parse_model
from worldtune.core.tensors.names import rename_tensors
from worldtune.diffusion.action_embedder import add_embedders, embed_actions, embedder_tensors
from worldtune.errors import BaseError, DataError, RecipeError
from worldtune.generation.action_request import GivenActions, VideoActions
from worldtune.models.load import open_world
from worldtune.models.resolve_base import TRAINED_AS
from worldtune.models.world import World
from worldtune.training.loop import train
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder

NAME = "predict2.5-2b/robot/action-cond"
ACTIONS = np.random.default_rng(0).normal(0, 0.02, (9, 7)).astype(np.float32)


def nvidia_file(tiny_world: Path, path: Path, *, embedder: bool = True) -> Path:
    """Write the tiny denoiser in NVIDIA's names, with random action embedders of seven numbers."""
    model = open_world(str(tiny_world)).denoiser
    tensors = model.state_dict()
    named = {f"net.{name}": t for name, t in rename_tensors(tensors, "nvidia", "tiny").of(tensors).items()}
    if embedder:
        add_embedders(model, 28, 16, 48)
        for name in ("action_embedder_B_D", "action_embedder_B_3D"):
            randomize(model.get_submodule(name), seed=7)
            model.get_submodule(name).fc2.weight.data.mul_(0.02)  # the tiny base must still predict velocities
            model.get_submodule(name).fc2.bias.data.mul_(0.02)
        named |= {f"net.{name}": t for name, t in embedder_tensors(model).items()}
    save_file({name: t.contiguous() for name, t in named.items()}, path)
    return path


@pytest.fixture(scope="module")
def base(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("nvidia")
    shutil.copytree(tiny_world, folder / "base")
    (folder / "base" / TRAINED_AS).write_text(json.dumps({"trained_as": NAME, "first_loss": FIRST_LOSS}))
    return f"{folder / 'base'}+{nvidia_file(tiny_world, folder / 'acting.safetensors')}"


@pytest.fixture(scope="module")
def acting(base: str) -> World:
    return open_world(base)


def test_inputs_have_nvidias_form(acting: World) -> None:
    form = form_of(acting.denoiser)
    assert owns_embedders(acting.denoiser)
    assert form is not None
    assert (form.inputs, form.sums, form.states) == (28, None, None)
    scale = np.array([20, 20, 20, 20, 20, 20, 1], np.float32)  # NVIDIA's c_act_scaler
    inputs_JI = form.encode(ACTIONS, None, 3)
    assert not inputs_JI[0].any()
    assert np.allclose(inputs_JI[1:], (ACTIONS[:8] * scale).reshape(2, 28), atol=1e-6)


def test_adapters_do_not_remove_the_bases_embedders(acting: World) -> None:
    given = VideoActions(form_of(acting.denoiser), GivenActions(ACTIONS, None, ""), 0.0)  # type: ignore[arg-type]
    before = embed_actions(acting.denoiser, given.chunk(0, 9), torch.zeros(1, 3))
    remove_adapter(acting.denoiser)
    after = embed_actions(acting.denoiser, given.chunk(0, 9), torch.zeros(1, 3))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert before[0].abs().max() > 1e-3


def test_a_checkpoint_must_fit_its_catalog_entry(tiny_world: Path, base: str, tmp_path: Path) -> None:
    plain = nvidia_file(tiny_world, tmp_path / "plain.safetensors", embedder=False)
    with pytest.raises(BaseError, match="have no action embedder"):
        open_world(f"{NAME}={tiny_world}+{plain}")
    with pytest.raises(BaseError, match=r"it reads actions, which predict2\.5-2b/pre-trained"):
        open_world(f"predict2.5-2b/pre-trained={base}")


def test_base_without_adapter_rolls_out_and_needs_actions(acting: World, tmp_path: Path) -> None:
    frame_HWC = np.full((32, 32, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "first.png"), frame_HWC)
    np.savez(tmp_path / "a.npz", actions=ACTIONS[:4])
    request = {"prompt": "p", "image": tmp_path / "first.png", "base": acting, "out": tmp_path / "v", "steps": 2}
    with pytest.raises(RecipeError, match="the model reads actions, but none are given"):
        wt.generate(**request)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="4 rows of actions do not fit a video of 13 frames"):
        wt.generate(**request, actions=tmp_path / "a.npz")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="rows of 7 numbers"):
        wt.rollout(frame_HWC, np.zeros((8, 4), np.float32), base=acting)


def test_lora_on_such_a_base_reads_the_bases_actions(acting: World, tmp_path: Path) -> None:
    data = write_acting_dataset(tmp_path / "data")
    content = acting_recipe_data(Path("x"), data, steps=2, modes={"image2world": 1.0})
    content["base"] = acting.card.source
    with pytest.raises(DataError, match="are not rows of 7 numbers"):
        small_data(acting, parse_model(Recipe, content, "test"), tmp_path / "store")
    content["adapter"]["actions"] = False
    with pytest.raises(RecipeError, match="this base reads actions, but the recipe gives it none"):
        small_data(acting, parse_model(Recipe, content, "test"), tmp_path / "store")


def test_lora_is_trained_with_seven_numbers(acting: World, tmp_path: Path) -> None:
    from support.acting import acting_episode
    from worldtune.data.export.lerobot_writer import Robot, write_lerobot

    episodes = []
    for seed in range(6):
        frames, states, _, prompt = acting_episode((8, 8), seed)
        episodes.append((frames, states, np.roll(ACTIONS, seed, 0), prompt))
    write_lerobot(tmp_path / "data", episodes, 16, Robot("r"), "observation.images.scene")
    content = acting_recipe_data(Path("x"), tmp_path / "data", steps=2, warmup=1, modes={"image2world": 1.0})
    content["base"], content["data"]["action_space"] = acting.card.source, {"kind": "delta"}
    recipe = parse_model(Recipe, content, "test")
    run = RunFolder(tmp_path / "run")
    run.start(recipe)
    train(acting, recipe, small_data(acting, recipe, tmp_path / "store"), run)
    remove_adapter(acting.denoiser)
    card = read_card(run.adapter)
    assert card.actions == form_of(acting.denoiser)
    assert card.embedder_digest is None
    assert not (run.adapter / EMBEDDER).exists()
    load_adapter(run.adapter, acting.denoiser, acting.card.digest)
    remove_adapter(acting.denoiser)
    assert owns_embedders(acting.denoiser)
