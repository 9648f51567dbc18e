"""Train on a small robot whose states and commands are exact, and read unseen videos."""

from pathlib import Path

import numpy as np
import pytest
import torch

from support.square_robot import CAMERA, GAIN, square_episode, square_recipe, write_square_robot
from worldtune.core.tensors.read import read_safetensors
from worldtune.data.video.decode import write_video
from worldtune.dreams.idm.model import load_idm
from worldtune.dreams.idm.session import IdmRun, train_idm
from worldtune.errors import DataError, RecipeError, UserError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_square_robot(tmp_path_factory.mktemp("square") / "data")


@pytest.fixture(scope="module")
def run(tiny_world: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> IdmRun:
    return train_idm(square_recipe(tiny_world, dataset), tmp_path_factory.mktemp("idm") / "run")


def test_states_and_commands_of_unseen_videos_are_read(run: IdmRun) -> None:
    frames, states, actions = square_episode(np.random.default_rng(99))
    labels = run.idm.label(frames, states[0])
    assert labels.states_TS is not None
    assert labels.commands_ID.shape == (8, 3)
    np.testing.assert_allclose(labels.states_TS[:, :2], states[:, :2], atol=2)
    command = actions.reshape(9, 2, 3).mean(1)[:-1]
    np.testing.assert_allclose(labels.commands_ID[:, :2], command[:, :2], atol=0.5)


def test_card_has_what_was_measured(run: IdmRun, dataset: Path) -> None:
    card = run.card
    assert (card.action_size, card.state_names, card.cameras) == (6, ("square.x", "square.y", "gripper"), (CAMERA,))
    assert card.gain == pytest.approx((GAIN, GAIN, 0), abs=0.01)
    assert card.action_holds == (
        "the mean command of the frame interval, read from video, repeated for each of its 2 commands"
    )
    assert card.held_out is not None
    assert card.held_out["video"]["clips"] == card.held_out["codec"]["clips"] == 6
    assert card.held_out["video"]["displacement_r2"] > 0.8
    assert card.held_out["video"]["balanced_accuracy"]["2"] > 0.9
    assert card.lineage["clips"] == {"train": 18, "held_out": 6}


def test_a_saved_model_labels_exactly_alike(run: IdmRun) -> None:
    frames, states, _ = square_episode(np.random.default_rng(7))
    loaded = load_idm(run.folder)
    assert loaded.digest == run.idm.digest
    for ours, theirs in ((run.idm.label(frames, states[0]), loaded.label(frames, states[0])),):
        assert np.array_equal(ours.commands_ID, theirs.commands_ID)
        assert np.array_equal(ours.spread_I, theirs.spread_I)


def test_the_same_recipe_gives_the_same_weights(tiny_world: Path, dataset: Path, tmp_path: Path) -> None:
    first, second = (
        train_idm(square_recipe(tiny_world, dataset, steps=3), tmp_path / name).card.weights_digest for name in "ab"
    )
    assert first == second


def test_resume_keeps_complete_networks(tiny_world: Path, dataset: Path, tmp_path: Path) -> None:
    recipe = square_recipe(tiny_world, dataset, steps=3)
    whole = train_idm(recipe, tmp_path / "whole").card.weights_digest
    calls: list[str] = []

    def stop_in_second(done: int, total: int, note: str = "") -> None:
        calls.append(note)
        if note.startswith("train network 2 of 2: "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_idm(recipe, tmp_path / "run", progress=stop_in_second)
    calls.clear()
    resumed = train_idm(recipe, tmp_path / "run", resume=True, progress=lambda done, total, note="": calls.append(note))
    assert resumed.card.weights_digest == whole
    assert not any(note.startswith("train network 1") for note in calls)


def test_absolute_targets_need_no_states(tiny_world: Path, tmp_path: Path) -> None:
    dataset = write_square_robot(tmp_path / "data", kind="absolute")
    run = train_idm(square_recipe(tiny_world, dataset, kind="absolute", steps=200), tmp_path / "run")
    frames, _, actions = square_episode(np.random.default_rng(5), "absolute")
    read = run.idm.label(frames, None).commands_ID
    np.testing.assert_allclose(read[:, :2], actions.reshape(9, 2, 3).mean(1)[:-1, :2], atol=2.5)
    assert run.card.gain == (0, 0, 0)


def test_a_pretrained_encoder_is_frozen_and_not_stored(tiny_world: Path, dataset: Path, tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=7)
    torch.manual_seed(0)
    Dinov2Model(config).save_pretrained(tmp_path / "encoder")
    recipe = square_recipe(tiny_world, dataset, steps=3, encoder=str(tmp_path / "encoder"))
    run = train_idm(recipe, tmp_path / "run")
    before, after = Dinov2Model(config).state_dict(), run.idm.networks[0].encoder.model.state_dict()
    assert before.keys() == after.keys()
    assert not any("encoder.model." in name for name in read_safetensors(run.folder / "idm" / "weights.safetensors"))
    frames, states, _ = square_episode(np.random.default_rng(7))
    loaded = load_idm(run.folder)
    assert np.array_equal(loaded.label(frames, states[0]).spread_I, run.idm.label(frames, states[0]).spread_I)
    Dinov2Model(config).save_pretrained(tmp_path / "encoder")
    with pytest.raises(DataError, match="the pretrained encoder has changed"):
        load_idm(run.folder)


def test_an_undeclared_action_space_is_an_error(tiny_world: Path, dataset: Path, tmp_path: Path) -> None:
    recipe = square_recipe(tiny_world, dataset)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"action_space": None})})
    with pytest.raises(RecipeError, match="does not declare what `action` means"):
        train_idm(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_dataset_without_actions_is_an_error(tiny_world: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(8):
        frames, _, _ = square_episode(np.random.default_rng(number))
        write_video(videos / f"{number}.mp4", frames, 16)
        (videos / f"{number}.txt").write_text("move the square")
    recipe = square_recipe(tiny_world, videos)
    with pytest.raises(DataError, match="the dataset has no actions"):
        train_idm(recipe, tmp_path / "run")


def test_a_resumed_run_must_have_the_same_settings(run: IdmRun, tiny_world: Path, dataset: Path) -> None:
    with pytest.raises(UserError, match="there is already a run in this folder"):
        train_idm(run.recipe, run.folder)
    with pytest.raises(UserError, match="the base, data or idm section has changed"):
        train_idm(square_recipe(tiny_world, dataset, steps=4), run.folder, resume=True)
    with pytest.raises(UserError, match="there is no run to resume"):
        train_idm(run.recipe, run.folder / "elsewhere", resume=True)


def test_changed_weights_or_card_are_rejected(run: IdmRun, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run.folder / "idm", tmp_path / "idm")
    weights = tmp_path / "idm" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match="the weights do not match the card"):
        load_idm(tmp_path / "idm")
    card = tmp_path / "idm" / "idm.json"
    card.write_text(card.read_text().replace('"fps": 16.0', '"fps": 15.0'))
    with pytest.raises(DataError, match="its fields do not match its digest"):
        load_idm(tmp_path / "idm")


def test_a_video_of_another_size_is_an_error(run: IdmRun) -> None:
    with pytest.raises(DataError, match="a video of 9 frames of 16×32 does not fit an IDM of 32×32"):
        run.idm.label(np.zeros((9, 16, 32, 3), np.uint8))
    with pytest.raises(DataError, match="a start of 2 numbers does not fit an IDM of 3 states"):
        run.idm.label(np.zeros((9, 32, 32, 3), np.uint8), np.zeros(2, np.float32))
