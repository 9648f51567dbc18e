"""Requests that do not fit their models or data are refused in one line, before anything is made."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreams.conftest import DATA
from support.adapters import edit_card
from worldtune.adapters.used import Used
from worldtune.data.camera_grid import grid_name
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.dreams.making.prepare import prepare
from worldtune.dreams.request import DreamRequest
from worldtune.errors import AdapterError, DataError, RecipeError
from worldtune.models.world import World

CHECKS = ("static", "frozen", "blurred", "swapped", "duplicates")  # of curation, which one color does not pass


def request(**changes: Any) -> DreamRequest:
    return DreamRequest(**{"data": DATA, "idm": "idm", "steps": 1, "critics": ()} | changes)


def with_card(idm: InverseDynamics, **changes: Any) -> InverseDynamics:
    return replace(idm, card=idm.card.model_copy(update=changes))


def test_first_frames_are_the_first_of_held_out_episodes(world: World, idm: InverseDynamics, dataset: Any) -> None:
    prepared = prepare(request(), world, {}, idm)
    assert [frame.episode for frame in prepared.frames] == [clip.episode for clip in dataset.held_out]
    assert prepared.total == len(prepared.dreams) == len(dataset.held_out)
    for frame, clip in zip(prepared.frames, dataset.held_out, strict=True):
        assert frame.frame_HWC.shape == (64, 64, 3)
        assert frame.state_S is not None
        assert clip.states is not None
        np.testing.assert_array_equal(frame.state_S, clip.states[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec_digest": "0" * 64, "base": "other"}, "trained on videos of other, which has another codec"),
        ({"fps": 8.0}, "reads videos of 64×64 pixels at 8 fps, the dreams have 64×64 pixels at 16 fps"),
        ({"height": 32}, "reads videos of 32×64 pixels at 16 fps"),
        ({"state_names": ("x", "y", "z", "grip")}, "no inverse dynamics model for the states hand.x, hand.y, hand.z"),
        ({"action_size": 7}, "an action of the dataset has 20 numbers, one of random has 7"),
        ({"cameras": ("observation.images.wrist",)}, "no inverse dynamics model for the camera observation.images."),
    ],
)
def test_inverse_dynamics_of_another_robot_or_video_is_refused(
    changes: dict[str, Any], message: str, world: World, idm: InverseDynamics
) -> None:
    with pytest.raises(DataError, match=message):
        prepare(request(), world, {}, with_card(idm, **changes))


def test_dataset_of_another_frame_rate_is_refused(world: World, idm: InverseDynamics, tmp_path: Path) -> None:
    film_THWC, rows = np.zeros((30, 64, 64, 3), np.uint8), np.zeros((30, 2), np.float32)
    write_lerobot(tmp_path / "data", [(film_THWC, rows, rows, "rest")], 8, Robot("square"), "observation.images.a")
    data = {"path": str(tmp_path / "data")}
    with pytest.raises(RecipeError, match="the dataset has 8 frames per second, the model 16"):
        prepare(request(data=data, episodes="all"), world, {}, idm)


def test_clip_size_other_than_the_models_is_refused(world: World, idm: InverseDynamics) -> None:
    with pytest.raises(RecipeError, match="asks for 21 frames of 64×64 at 8 fps, the model makes 21 frames of 64×64"):
        prepare(request(data=DATA | {"fps": 8}), world, {}, idm)


def test_adapter_of_another_base_is_refused(
    world: World, idm: InverseDynamics, adapters: dict[str, Used], tmp_path: Path
) -> None:
    shutil.copytree(adapters["one"].path, tmp_path / "other")
    edit_card(tmp_path / "other", base="other", base_digest="0" * 64)
    with pytest.raises(AdapterError, match="this adapter was made for another base: other 0000"):
        prepare(request(), world, {"other": Used(tmp_path / "other")}, idm)


def test_adapters_of_two_sizes_are_refused(
    world: World, idm: InverseDynamics, adapters: dict[str, Used], tmp_path: Path
) -> None:
    shutil.copytree(adapters["two"].path, tmp_path / "short")
    edit_card(tmp_path / "short", frames=9)
    both = {"one": adapters["one"], "short": Used(tmp_path / "short")}
    with pytest.raises(RecipeError, match=r"one was trained on 21 frames of .*, short on 9 frames"):
        prepare(request(), world, both, idm)


def test_no_first_frames_are_refused(world: World, idm: InverseDynamics, tmp_path: Path) -> None:
    nothing_held_out = {key: value for key, value in DATA.items() if key != "held_out"}
    with pytest.raises(DataError, match="no clips for episodes: held_out, so there are no first frames"):
        prepare(request(data=nothing_held_out), world, {}, idm)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="the folder has no images, so there are no first frames"):
        prepare(request(data=None, images=tmp_path / "images"), world, {}, idm)
    with pytest.raises(DataError, match="there is no such folder of first frames"):
        prepare(request(data=None, images=tmp_path / "gone"), world, {}, idm)


def test_prompt_that_the_base_cannot_read_is_refused(world: World, idm: InverseDynamics) -> None:
    with pytest.raises(RecipeError, match=r"the prompt has .* tokens"):
        prepare(request(instructions=({"text": "open the drawer " * 200},)), world, {}, idm)


def test_action_space_of_another_kind_is_refused(world: World, idm: InverseDynamics) -> None:
    data = DATA | {"action_space": {"kind": "absolute", "commands_per_frame": 5}}
    message = "the dataset's actions are absolute, 5 a frame, those of random are delta, 5 a frame of the states"
    with pytest.raises(DataError, match=message):
        prepare(request(data=data), world, {}, idm)


def test_first_frames_of_a_tiling_adapter_are_tiled(
    world: World, idm: InverseDynamics, adapters: dict[str, Used], tmp_path: Path
) -> None:
    levels = {"observation.images.left": 40, "observation.images.right": 160}
    cameras = list(levels)
    rows = np.random.default_rng(0).standard_normal((21, 2)).astype(np.float32)
    films = [
        {camera: np.full((21, 64, 32, 3), level + number, np.uint8) for camera, level in levels.items()}
        for number in (0, 8)
    ]
    episodes = [(film, rows, rows, f"move {number}") for number, film in enumerate(films)]
    write_lerobot(tmp_path / "data", episodes, 16, Robot("square"), cameras)
    shutil.copytree(adapters["one"].path, tmp_path / "tiled")
    edit_card(tmp_path / "tiled", tile=[cameras])
    labeler = with_card(idm, state_names=("", ""), action_size=2, cameras=(grid_name((tuple(cameras),)),))
    data = {"path": str(tmp_path / "data"), "curate": {name: False for name in CHECKS}}
    prepared = prepare(request(data=data, episodes="all"), world, {"tiled": Used(tmp_path / "tiled")}, labeler)
    assert prepared.size.tile == (tuple(cameras),)
    for number, frame in enumerate(prepared.frames):
        assert (frame.camera, frame.frame_HWC.shape) == (grid_name((tuple(cameras),)), (64, 64, 3))
        halves = frame.frame_HWC[:, :32], frame.frame_HWC[:, 32:]
        assert [round(half.mean() - 8 * number) for half in halves] == pytest.approx([40, 160], abs=2)
