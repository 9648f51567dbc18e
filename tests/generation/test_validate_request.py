"""Defaults and checks of a request before its video is generated, and reading of its input."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.adapters import SPECS, make_card, train_by_hand
from support.generation_requests import FILM, make, request
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.data.video.decode import read_frames
from worldtune.errors import DataError, RecipeError, UserError
from worldtune.generation.negative_prompt import default_negative_prompt
from worldtune.generation.request import WeightedAdapter
from worldtune.generation.validate_request import check_not_existing, read_input, resolve
from worldtune.models.catalog import BY_NAME
from worldtune.models.load import open_world
from worldtune.models.world import World


def test_an_image_conditions_like_its_video(world: World, picture: Path) -> None:
    given_THWC = read_input(resolve(world, request("image2world", input_path=picture)))
    assert np.array_equal(given_THWC, FILM[:1])


@pytest.mark.parametrize(("kind", "count"), [("image2world", 1), ("video2world", 5)])
def test_a_video_conditions_with_its_last_frames(world: World, video: Path, kind: str, count: int) -> None:
    """As NVIDIA's read_and_process_video does."""
    given_THWC = read_input(resolve(world, request(kind, input_path=video)))
    assert np.array_equal(given_THWC, np.stack(list(read_frames(video))[-count:]))


def test_an_input_is_scaled_to_cover_and_center_cropped(world: World, tmp_path: Path) -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 200
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    given_THWC = read_input(resolve(world, request("image2world", input_path=tmp_path / "wide.png")))
    assert np.array_equal(given_THWC, np.full((1, 32, 32, 3), 200, np.uint8))


def test_default_guidance_of_the_bases() -> None:
    names = ("pocket", "predict2.5-2b/distilled", "predict2.5-2b/post-trained", "predict2-2b/video2world")
    assert [BY_NAME[name].guidance for name in names] == [0, 0, 7, 7]


def test_guidance_defaults_to_the_base_s(tiny_world: Path) -> None:
    world = open_world(str(tiny_world))
    default = resolve(world, request(guidance=None))
    assert (default.guidance, default.negative_prompt) == (0, "")
    world.card = replace(world.card, guidance=7)
    assert resolve(world, request(guidance=None)).guidance == 7
    assert resolve(world, request(guidance=None)).negative_prompt == default_negative_prompt()
    assert resolve(world, request(guidance=0)).guidance == 0
    assert resolve(world, request(guidance=2, negative_prompt="")).negative_prompt == ""


def test_fields_that_a_card_lacks_default_to_the_base_s(world: World, tmp_path: Path) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    unknown = dict.fromkeys(("frames", "fps", "height", "width", "fit"))
    card = make_card(SPECS["lora"], world.card.digest)
    save_adapter(tmp_path / "own", world.denoiser, card.model_copy(update={"fps": 10.0}))
    save_adapter(tmp_path / "imported", world.denoiser, card.model_copy(update=unknown))
    remove_adapter(world.denoiser)
    bare = request(resolution="none", num_output_frames=None)
    alone = resolve(world, bare.model_copy(update={"adapter": tmp_path / "imported"}))
    assert (alone.frames, alone.height, alone.width, alone.fps, alone.fit) == (21, 64, 64, 16, "cover")
    paths = [WeightedAdapter(path=tmp_path / name) for name in ("imported", "own")]
    both = resolve(world, bare.model_copy(update={"adapters": tuple(paths)}))
    assert (both.frames, both.height, both.fps, both.fit) == (9, 32, 10, "stretch")


def test_an_image_is_too_short_for_video2world(world: World, picture: Path) -> None:
    with pytest.raises(DataError, match="1 frames, but video2world needs the last 5"):
        make(world, request("video2world", input_path=picture))


def test_a_missing_input_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the input is missing.*gone\.png"):
        make(world, request("image2world", input_path=tmp_path / "gone.png"))


@pytest.mark.parametrize("name", ["cut.jpg", "cut.mp4"])
def test_a_truncated_input_is_refused(world: World, video: Path, tmp_path: Path, name: str) -> None:
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
def test_an_input_that_refers_to_another_file_is_refused(world: World, video: Path, tmp_path: Path, name: str) -> None:
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
def test_invalid_sizes_are_refused(world: World, fields: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        make(world, request(**fields))


@pytest.mark.parametrize(("kind", "frames"), [("image2world", 1), ("video2world", 1), ("video2world", 5)])
def test_a_video_without_new_frames_is_refused(world: World, video: Path, kind: str, frames: int) -> None:
    with pytest.raises(RecipeError, match="come from the input"):
        make(world, request(kind, input_path=video, num_output_frames=frames))


def test_a_prompt_longer_than_the_base_reads_is_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="the base reads 64"):
        make(world, request(prompt=" ".join(["the square goes right and"] * 20)))


def test_existing_videos_are_named(tmp_path: Path) -> None:
    check_not_existing([request()], tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"already exists.* \[.*clip.mp4\].*--overwrite"):
        check_not_existing([request(name="other"), request()], tmp_path)


def test_chunks_without_new_frames_are_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="Raise chunk_size"):
        resolve(world, request(num_output_frames=20, enable_autoregressive=True, chunk_size=5, chunk_overlap=5))


def test_chunk_size_is_ignored_without_autoregression(world: World) -> None:
    """NVIDIA's examples state chunk_size and chunk_overlap also for videos of one chunk."""
    single = request(num_output_frames=9, enable_autoregressive=False, chunk_size=77, chunk_overlap=1)
    assert resolve(world, single).chunk == 9


def test_adapters_of_different_speeds_are_not_combined(world: World, tmp_path: Path) -> None:
    for name, fps in (("slow", 8.0), ("fast", 16.0)):
        train_by_hand(world.denoiser, SPECS["lora"])
        card = make_card(SPECS["lora"], world.card.digest).model_copy(update={"fps": fps})
        save_adapter(tmp_path / name, world.denoiser, card)
        remove_adapter(world.denoiser)
    both = request(adapters=[{"path": tmp_path / "slow"}, {"path": tmp_path / "fast", "weight": 0.3}])
    with pytest.raises(RecipeError, match="8 fps, stretch and 16 fps, stretch"):
        resolve(world, both)
