"""Training with actions: exact resume, dropped actions, the preflight check, and recipes that cannot work."""

from pathlib import Path
from typing import Any

import pytest
import torch

from support.acting import SPACE, acting_recipe, acting_recipe_data, write_acting_dataset
from support.training import small_data
from worldtune.adapters.card import EMBEDDER, AdapterCard
from worldtune.adapters.folder import WEIGHTS, load_adapter, remove_adapter
from worldtune.core.settings import parse_model
from worldtune.errors import DataError, RecipeError
from worldtune.latents.action_batch import clip_actions
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.training.data.action_conditioning import dropped_actions
from worldtune.training.data.batches import Batches
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.loop import train
from worldtune.training.recipe import Recipe, Train
from worldtune.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_acting_dataset(tmp_path_factory.mktemp("acting") / "data")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("acting-store")


@pytest.fixture(scope="module")
def acting_data(tiny_world: Path, acting: Path, store: Path) -> TrainingData:
    return small_data(open_world(str(tiny_world)), acting_recipe(tiny_world, acting), store)


def run_to(folder: Path, world: World, recipe: Recipe, data: TrainingData, *, resume: bool = False) -> AdapterCard:
    run = RunFolder(folder)
    run.resume(recipe, allow_change=True) if resume else run.start(recipe)
    card = train(world, recipe, data, run, resume=resume, allow_change=resume)
    remove_adapter(world.denoiser)
    return card


def test_resumed_run_equals_an_uninterrupted_one(
    world: World, acting_data: TrainingData, tiny_world: Path, acting: Path, tmp_path: Path
) -> None:
    recipe = acting_recipe(tiny_world, acting, ema={"decay": [0.5]}, schedule="constant")
    whole = run_to(tmp_path / "whole", world, recipe, acting_data)
    short = acting_recipe(tiny_world, acting, ema={"decay": [0.5]}, schedule="constant", steps=4)
    run_to(tmp_path / "parts", world, short, acting_data)
    run_to(tmp_path / "parts", world, recipe, acting_data, resume=True)
    for name in (EMBEDDER, WEIGHTS):
        assert (tmp_path / "whole" / "adapter" / name).read_bytes() == (
            tmp_path / "parts" / "adapter" / name
        ).read_bytes()
    assert whole.actions == acting_data.action_form
    assert whole.preflight is not None
    assert whole.preflight.zero_step_difference == 0
    assert whole.preflight.reached_tensors == 2 * whole.preflight.wrapped_modules + 8


def test_trained_adapter_reads_actions(
    world: World, acting_data: TrainingData, tiny_world: Path, acting: Path, tmp_path: Path
) -> None:
    run_to(tmp_path / "run", world, acting_recipe(tiny_world, acting), acting_data)
    load_adapter(tmp_path / "run" / "adapter", world.denoiser, world.card.digest)
    clip = acting_data.train[0]
    actions = clip_actions(acting_data.action_form, [clip], 3)
    x_BCTHW = torch.randn(1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    sigma_BT, cond_mask_BT = torch.full((1, 3), 0.5), torch.zeros(1, 3)
    text_BND = torch.randn(1, 4, 32)
    with torch.no_grad():
        acted = world.velocity(x_BCTHW, sigma_BT, cond_mask_BT, text_BND, actions)
        plain = world.velocity(x_BCTHW, sigma_BT, cond_mask_BT, text_BND)
    remove_adapter(world.denoiser)
    assert (acted - plain).abs().max() > 1e-4


def test_micro_batches_have_the_actions_of_their_clips(
    acting_data: TrainingData, tiny_world: Path, acting: Path
) -> None:
    recipe = acting_recipe(tiny_world, acting, batch=4, action_dropout=0.5)
    with Batches(acting_data, recipe, 5.0, range(4)) as batches:
        (micro_batch,) = batches.of(3)
    dropped_B = dropped_actions(recipe.train, 3, range(4))
    assert dropped_B.any()
    assert not dropped_B.all()
    assert micro_batch.actions is not None
    assert micro_batch.actions.given_BJ[:, 0].sum() == 0
    assert torch.equal(micro_batch.actions.given_BJ[:, 1:].bool(), ~dropped_B[:, None].expand(-1, 2))
    expected = clip_actions(acting_data.action_form, micro_batch.clips, 3)
    assert expected is not None
    assert torch.equal(micro_batch.actions.inputs_BJI, expected.inputs_BJI)


def test_dropout_depends_on_seed_and_step_alone() -> None:
    settings = Train(batch=64, action_dropout=0.25)
    dropped_B = dropped_actions(settings, 5, range(64))
    assert torch.equal(dropped_actions(settings, 5, range(32, 64)), dropped_B[32:])
    assert not torch.equal(dropped_actions(settings, 6, range(64)), dropped_B)
    assert 4 < dropped_B.sum() < 28


def refused(tiny_world: Path, acting: Path, store: Path, kind: type[Exception], **changes: Any) -> str:
    content = acting_recipe_data(tiny_world, acting)
    for section, values in changes.items():
        content[section] = content.get(section, {}) | values
    with pytest.raises(kind) as error:
        small_data(open_world(str(tiny_world)), parse_model(Recipe, content, "test"), store)
    return str(error.value)


def test_recipes_that_cannot_work_are_refused(tiny_world: Path, acting: Path, store: Path, tmp_path: Path) -> None:
    assert "adapter.actions needs data.action_space" in refused(
        tiny_world, acting, store, RecipeError, data={"action_space": None}
    )
    other = {"data": {"path": str(acting), "frames": 9, "fps": 16, "height": 32, "width": 32}, "share": 0.2}
    other["data"]["action_space"] = SPACE | {"state_columns": [1, 0]}  # type: ignore[index]
    assert "mix.other declares another action space than data" in refused(
        tiny_world, acting, store, RecipeError, mix={"other": other}
    )
    slow = {"data": {"fps": 8, "frames": 5}, "train": {"modes": {"image2world": 1.0}}}
    assert "skips or repeats recorded frames" in refused(tiny_world, acting, store, DataError, **slow)
    commands = SPACE | {"commands_per_frame": 3}
    assert "are not 3 commands of equal length" in refused(
        tiny_world, acting, store, DataError, data={"action_space": commands}
    )


def test_text_only_recipes_ignore_actions(tiny_world: Path, acting: Path, store: Path) -> None:
    content = acting_recipe_data(tiny_world, acting)
    content["adapter"]["actions"], content["data"]["action_space"] = False, None
    data = small_data(open_world(str(tiny_world)), parse_model(Recipe, content, "test"), store)
    assert data.action_form is None
    assert all(clip.clip.actions is None for clip in data.train)
