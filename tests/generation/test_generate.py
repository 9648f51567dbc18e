import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import worldtune
from support.adapters import SPECS, make_card, train_by_hand
from support.films import film
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.episodes.video import measure, read_frames, write_video
from worldtune.errors import DataError, RecipeError, UserError
from worldtune.files import digest_file
from worldtune.generation.generate import generate, write_result
from worldtune.generation.request import GenerationRequest
from worldtune.generation.resolve import read_input, refuse_existing, resolve
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World

FILM = film(3, "the square goes right", (60, 100, 140))


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "film.mp4", FILM, 16)
    return tmp_path / "film.mp4"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "film.png"), FILM[0][:, :, ::-1])
    return tmp_path / "film.png"


def request(kind: str = "text2world", **fields: object) -> GenerationRequest:
    defaults = {"name": "clip", "prompt": "the square goes right", "resolution": "32,32", "num_output_frames": 9}
    return GenerationRequest.model_validate({"inference_type": kind, "num_steps": 2, "guidance": 0} | defaults | fields)


def make(world: World, asked: GenerationRequest) -> np.ndarray:
    return generate(world, resolve(world, asked))


def test_a_video_has_the_size_asked_for(world: World) -> None:
    frames_THWC = make(world, request(resolution="32,48", num_output_frames=5))
    assert frames_THWC.shape == (5, 32, 48, 3)
    assert frames_THWC.dtype == np.uint8


def test_without_a_size_it_has_the_bases_own(world: World) -> None:
    resolved = resolve(world, request(resolution="none", num_output_frames=None))
    assert (resolved.frames, resolved.height, resolved.width, resolved.fps) == (21, 64, 64, 16)


def test_the_same_request_gives_the_same_video(world: World) -> None:
    first = make(world, request(seed=3))
    torch.manual_seed(99)
    assert np.array_equal(make(world, request(seed=3)), first)
    assert not np.array_equal(make(world, request(seed=4)), first)
    assert not np.array_equal(make(world, request(seed=3, prompt="the square goes down")), first)


def test_guidance_moves_away_from_the_negative_prompt(world: World) -> None:
    plain = make(world, request())
    assert not np.array_equal(make(world, request(guidance=4)), plain)
    same = make(world, request(guidance=4, negative_prompt="the square goes right"))
    assert np.abs(same.astype(int) - plain).max() <= 1


@pytest.mark.parametrize(("kind", "known"), [("image2world", 1), ("video2world", 5)])
def test_the_given_frames_come_back_as_the_codec_sees_them(world: World, video: Path, kind: str, known: int) -> None:
    frames_THWC = make(world, request(kind, input_path=video, num_steps=4))
    given_THWC = np.stack(list(read_frames(video))[-known:])
    seen = world.decode(world.encode(torch.from_numpy(given_THWC)[None]))[0].numpy()
    assert np.abs(frames_THWC[:known].astype(int) - seen).max() <= 1


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


@pytest.mark.parametrize("name", ["broken.png", "broken.mp4"])
def test_a_broken_input_is_named(world: World, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=name):
        make(world, request("image2world", input_path=tmp_path / name))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"num_output_frames": 8}, "1 \\+ 4n"),
        ({"resolution": "30,32"}, "multiples of 16"),
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


def test_the_manifest_says_everything_that_went_in(world: World, video: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("the square goes right\n")
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    asked = request(
        "video2world", input_path=video, prompt=None, prompt_path=tmp_path / "prompt.txt", seed=7,
        adapter=tmp_path / "adapter",
    )  # fmt: skip
    path = write_result(world, resolve(world, asked), FILM, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert path == tmp_path / "out" / "clip.mp4"
    assert told["video"] == {"sha256": digest_file(path), "frames": 9, "height": 32, "width": 32, "fps": 16}
    assert told["request"]["prompt"] == "the square goes right"
    assert told["request"]["seed"] == 7
    assert GenerationRequest.model_validate(told["request"] | {"prompt_path": None}).negative_prompt
    card = world.card
    assert told["base"] == {
        "name": "tiny", "source": card.source, "trained_as": "pocket", "revision": None, "digest": card.digest
    }  # fmt: skip
    assert told["adapter"]["card"] == digest_file(tmp_path / "adapter" / "adapter.json")
    assert told["input"] == {"sha256": digest_file(video), "fit": "stretch"}
    assert told["text"]["base_reads"] == 64
    assert told["text"]["negative_prompt"] == "not used: no guidance"
    assert told["schedule"] == {"name": "karras 200…0.01", "steps": 2, "conditional_sigma": 0.0001}
    assert told["guardrails"] == []
    assert told["worldtune"] == worldtune.__version__


def test_the_mp4_holds_the_frames(world: World, tmp_path: Path) -> None:
    path = write_result(world, resolve(world, request()), FILM, tmp_path / "out")
    facts = measure(path)
    assert (facts.frames, facts.fps, facts.height, facts.width) == (9, 16, 32, 32)
    back_THWC = np.stack(list(read_frames(path)))
    assert np.abs(back_THWC.astype(int) - FILM).mean() < 6
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["clip.json", "clip.mp4"]


def test_without_its_manifest_there_is_no_video(world: World, video: Path, tmp_path: Path) -> None:
    resolved = resolve(world, request("image2world", input_path=video))
    video.unlink()
    with pytest.raises(FileNotFoundError):
        write_result(world, resolved, FILM, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_adapter_brings_what_it_was_trained_on(world: World, tmp_path: Path, video: Path) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    card = make_card(SPECS["lora"], world.card.digest).model_copy(update={"fps": 10.0, "frames": 13, "width": 48})
    save_adapter(tmp_path / "adapter", world.denoiser, card)
    remove_adapter(world.denoiser)
    silent = request("image2world", input_path=video, resolution="none", num_output_frames=None)
    resolved = resolve(world, silent.model_copy(update={"adapter": tmp_path / "adapter"}))
    assert (resolved.frames, resolved.height, resolved.width, resolved.fps) == (13, 32, 48, 10)
    assert resolved.fit == "stretch"
    path = write_result(world, resolved, generate(world, resolved), tmp_path / "out")
    assert measure(path).fps == 10
    own = resolve(world, silent)
    assert (own.frames, own.width, own.fps, own.fit) == (21, 64, 16, "cover")


def test_what_is_not_read_of_a_negative_prompt_is_told(world: World, tmp_path: Path) -> None:
    long = resolve(world, request(guidance=2))  # NVIDIA's own negative prompt is longer than this base reads
    write_result(world, long, FILM, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "clip.json").read_text())["text"]
    assert told["prompt_tokens"] < 64
    assert told["negative_prompt"].startswith(f"cut: the last {long.negative_tokens - 64} of its")
    short = resolve(world, request(guidance=2, negative_prompt="blurry"))
    write_result(world, short, FILM, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "clip.json").read_text())["text"]["negative_prompt"] == "read whole"


def test_videos_that_are_there_are_named(tmp_path: Path) -> None:
    refuse_existing([request()], tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"there already \[.*clip.mp4\].*--overwrite"):
        refuse_existing([request(name="other"), request()], tmp_path)
