"""What is decided and refused before a video is made, and the input it goes on from."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from support.adapters import SPECS, make_card, train_by_hand
from support.generation_requests import FILM, make, request
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.episodes.video import read_frames
from worldtune.errors import DataError, RecipeError, UserError
from worldtune.generation.resolve import read_input, refuse_existing, resolve
from worldtune.worlds.world import World


def test_a_picture_conditions_as_its_video_would(world: World, picture: Path) -> None:
    given_THWC = read_input(resolve(world, request("image2world", input_path=picture)))
    assert np.array_equal(given_THWC, FILM[:1])


@pytest.mark.parametrize(("kind", "count"), [("image2world", 1), ("video2world", 5)])
def test_a_video_conditions_with_its_last_frames(world: World, video: Path, kind: str, count: int) -> None:
    """As NVIDIA's read_and_process_video does."""
    given_THWC = read_input(resolve(world, request(kind, input_path=video)))
    assert np.array_equal(given_THWC, np.stack(list(read_frames(video))[-count:]))


def test_an_input_is_scaled_to_cover_and_cut_at_the_centre(world: World, tmp_path: Path) -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 200
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    given_THWC = read_input(resolve(world, request("image2world", input_path=tmp_path / "wide.png")))
    assert np.array_equal(given_THWC, np.full((1, 32, 32, 3), 200, np.uint8))


def test_a_picture_is_too_short_for_video2world(world: World, picture: Path) -> None:
    with pytest.raises(DataError, match="1 frames, but video2world is given the last 5"):
        make(world, request("video2world", input_path=picture))


def test_a_missing_input_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the input is missing.*gone\.png"):
        make(world, request("image2world", input_path=tmp_path / "gone.png"))


@pytest.mark.parametrize("name", ["cut.jpg", "cut.mp4"])
def test_an_input_that_is_cut_short_is_refused(world: World, video: Path, tmp_path: Path, name: str) -> None:
    cv2.imwrite(str(tmp_path / "whole.jpg"), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole = (video if name == "cut.mp4" else tmp_path / "whole.jpg").read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match=name):
        make(world, request("image2world", input_path=tmp_path / name))


@pytest.mark.parametrize("name", ["broken.png", "broken.mp4"])
def test_a_broken_input_is_named(world: World, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=name):
        make(world, request("image2world", input_path=tmp_path / name))


@pytest.mark.parametrize("name", ["script.mp4", "script.png", "script.mov"])
def test_an_input_that_names_another_file_is_refused(world: World, video: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"ffconcat version 1.0\nfile {video.name}\nduration 0.5\n")
    with pytest.raises(DataError, match=r"not an MP4, QuickTime|the picture cannot be read"):
        make(world, request("image2world", input_path=tmp_path / name))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"num_output_frames": 8}, "1 \\+ 4n"),
        ({"resolution": "30,32"}, "multiples of 16"),
        ({"resolution": "0,32"}, "multiples of 16"),
        ({"num_output_frames": 77}, "more than tiny can make"),
        ({"resolution": "32,512"}, "more than tiny can make"),
    ],
)
def test_sizes_that_cannot_be_made_are_refused(world: World, fields: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        make(world, request(**fields))


@pytest.mark.parametrize(("kind", "frames"), [("image2world", 1), ("video2world", 1), ("video2world", 5)])
def test_a_video_of_nothing_but_its_input_is_refused(world: World, video: Path, kind: str, frames: int) -> None:
    with pytest.raises(RecipeError, match="given by the input"):
        make(world, request(kind, input_path=video, num_output_frames=frames))


def test_a_prompt_longer_than_the_base_reads_is_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="the base reads 64"):
        make(world, request(prompt=" ".join(["the square goes right and"] * 20)))


def test_videos_that_are_there_are_named(tmp_path: Path) -> None:
    refuse_existing([request()], tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"there already \[.*clip.mp4\].*--overwrite"):
        refuse_existing([request(name="other"), request()], tmp_path)


def test_chunks_that_would_be_given_whole_are_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="Raise chunk_size"):
        resolve(world, request(num_output_frames=20, enable_autoregressive=True, chunk_size=5, chunk_overlap=5))


def test_nvidias_defaults_are_understood(world: World) -> None:
    """Its examples state chunk_size and chunk_overlap where no chunks are asked for."""
    asked = request(num_output_frames=9, enable_autoregressive=False, chunk_size=77, chunk_overlap=1)
    assert resolve(world, asked).chunk == 9


def test_adapters_of_other_speeds_are_not_combined(world: World, tmp_path: Path) -> None:
    for name, fps in (("slow", 8.0), ("fast", 16.0)):
        train_by_hand(world.denoiser, SPECS["lora"])
        card = make_card(SPECS["lora"], world.card.digest).model_copy(update={"fps": fps})
        save_adapter(tmp_path / name, world.denoiser, card)
        remove_adapter(world.denoiser)
    both = request(adapters=[{"path": tmp_path / "slow"}, {"path": tmp_path / "fast", "weight": 0.3}])
    with pytest.raises(RecipeError, match="8 fps, stretch and 16 fps, stretch"):
        resolve(world, both)
