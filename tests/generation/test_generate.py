import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import worldtune
from support.adapters import SPECS, make_card, train_by_hand
from support.films import film
from worldtune.adapters.folder import load_adapters, remove_adapter, save_adapter
from worldtune.adapters.inject import wrapped_modules
from worldtune.episodes.video import measure, read_frames, write_video
from worldtune.errors import AdapterError, DataError, RecipeError, UserError
from worldtune.files import digest_file
from worldtune.generation.generate import draw_noise, generate, read_prompts, write_result
from worldtune.generation.long_video import count_chunks
from worldtune.generation.request import GenerationRequest
from worldtune.generation.resolve import Resolved, read_input, refuse_existing, resolve
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
    return made(world, resolve(world, asked))


def made(world: World, resolved: Resolved, on_step: Callable[[int], None] = lambda step: None) -> np.ndarray:
    return generate(world, resolved, read_prompts(world, [resolved]), on_step)


def test_every_prompt_is_read_once_and_the_encoder_let_go(tiny_world: Path) -> None:
    world = open_world(str(tiny_world))
    asked = [request(name=name, guidance=guidance) for name, guidance in (("a", 2), ("b", 2), ("c", 0))]
    asked.append(request(name="d", prompt="the square goes down", negative_prompt="the square goes right", guidance=1))
    jobs, read = [resolve(world, one) for one in asked], []
    assert "model" not in vars(world.text)  # to count tokens no weight is needed
    embed = world.text.embed
    vars(world.text)["embed"] = lambda prompts, *, cut: read.extend(prompts) or embed(prompts, cut=cut)
    texts = read_prompts(world, jobs)
    assert sorted(read) == sorted(texts) == sorted({*(one.prompt for one in asked), asked[0].negative_prompt})
    assert "text" not in vars(world)
    again = world.encode_prompts(["the square goes down"])
    assert torch.equal(texts["the square goes down"], again)


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
    (used,) = told["adapters"]
    assert used["card"] == digest_file(tmp_path / "adapter" / "adapter.json")
    assert used["weight"] == 1
    assert told["input"] == {"sha256": digest_file(video), "fit": "stretch"}
    assert told["text"]["base_reads"] == 64
    assert told["text"]["negative_prompt"] == "not used: no guidance"
    schedule = {"name": "karras 200…0.01", "steps": 2, "evaluations": 3, "chunks": 1, "conditional_sigma": 0.0001}
    assert told["schedule"] == schedule
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
    path = write_result(world, resolved, made(world, resolved), tmp_path / "out")
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


def test_noise_by_nvidia_s_convention_is_numpy_s(world: World) -> None:
    expected = np.random.RandomState(5).standard_normal((1, 2, 3)).astype(np.float32)
    assert np.array_equal(draw_noise((1, 2, 3), 5, "numpy").numpy(), expected)
    assert not np.array_equal(make(world, request(noise="numpy")), make(world, request()))
    with pytest.raises(ValueError, match="numpy's seeds"):
        request(noise="numpy", seed=2**40)


def test_nvidia_s_steps_are_one_evaluation_more_on_karras(world: World, tiny_world: Path) -> None:
    assert resolve(world, request(num_steps=35)).evaluations == 36
    other = open_world(f"predict2.5-2b/pre-trained={tiny_world}")
    assert resolve(other, request(num_steps=35)).evaluations == 35
    told: list[int] = []
    made(world, resolve(world, request(num_steps=2)), told.append)
    assert told == [1, 2, 3]


def test_a_long_video_goes_on_from_its_own_last_frames(world: World) -> None:
    long = request(num_output_frames=20, enable_autoregressive=True, chunk_size=9, chunk_overlap=5, seed=7)
    told: list[int] = []
    frames_THWC = made(world, resolve(world, long), told.append)
    assert frames_THWC.shape == (20, 32, 32, 3)
    assert told == list(range(1, 4 * 3 + 1))  # four chunks of three evaluations
    first = make(world, request(num_output_frames=9, seed=7))
    assert np.array_equal(frames_THWC[:9], first)


def test_the_second_chunk_is_a_video_from_the_first_one_s_end(world: World, tmp_path: Path) -> None:
    """Made by hand: the same request, the next seed, the overlap given as pictures."""
    long = request(num_output_frames=17, enable_autoregressive=True, chunk_size=9, chunk_overlap=1, seed=7)
    frames_THWC = make(world, long)
    cv2.imwrite(str(tmp_path / "end.png"), frames_THWC[8][:, :, ::-1])
    second = make(world, request("image2world", input_path=tmp_path / "end.png", seed=8))
    assert np.array_equal(frames_THWC[9:], second[1:])


def test_a_long_video_of_a_short_request_is_that_request(world: World) -> None:
    short = request(num_output_frames=9)
    long = short.model_copy(update={"enable_autoregressive": True, "chunk_size": 9})
    assert np.array_equal(make(world, long), make(world, short))


def test_chunks_that_would_be_given_whole_are_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="Raise chunk_size"):
        resolve(world, request(num_output_frames=20, enable_autoregressive=True, chunk_size=5, chunk_overlap=5))


def test_nvidias_defaults_are_understood(world: World) -> None:
    """Its examples state chunk_size and chunk_overlap where no chunks are asked for."""
    asked = request(num_output_frames=9, enable_autoregressive=False, chunk_size=77, chunk_overlap=1)
    assert resolve(world, asked).chunk == 9


@pytest.mark.parametrize(
    ("frames", "chunk", "overlap", "count"),
    [(77, 77, 1, 1), (78, 77, 1, 2), (153, 77, 1, 2), (154, 77, 1, 3), (9, 77, 5, 1), (1, 1, 1, 1), (5, 5, 5, 1)],
)
def test_how_many_chunks(frames: int, chunk: int, overlap: int, count: int) -> None:
    """NVIDIA's count: 1 + ceil((N − chunk)/(chunk − overlap))."""
    assert count_chunks(frames, chunk, overlap) == count


def test_several_adapters_add_up(world: World, tmp_path: Path) -> None:
    """Half of an adapter twice is that adapter."""
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "one", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    x, sigma, known = torch.randn(1, 16, 3, 4, 4), torch.full((1, 3), 0.5), torch.zeros(1, 3)
    text = torch.randn(1, 8, 32)
    bare = world.velocity(x, sigma, known, text)
    load_adapters([(tmp_path / "one", 1.0)], world.denoiser, world.card.digest)
    alone = world.velocity(x, sigma, known, text)
    remove_adapter(world.denoiser)
    load_adapters([(tmp_path / "one", 0.5), (tmp_path / "one", 0.5)], world.denoiser, world.card.digest)
    halves = world.velocity(x, sigma, known, text)
    remove_adapter(world.denoiser)
    assert (alone - bare).abs().max() > 1e-2
    assert (halves - alone).abs().max() < 1e-4
    assert torch.equal(world.velocity(x, sigma, known, text), bare)


def test_doras_do_not_add_up_and_the_base_stays_bare(world: World, tmp_path: Path) -> None:
    train_by_hand(world.denoiser, SPECS["dora"])
    save_adapter(tmp_path / "dora", world.denoiser, make_card(SPECS["dora"], world.card.digest))
    remove_adapter(world.denoiser)
    with pytest.raises(AdapterError, match="adapter merge"):
        load_adapters([(tmp_path / "dora", 0.5)], world.denoiser, world.card.digest)
    assert wrapped_modules(world.denoiser) == []


def test_adapters_of_other_speeds_are_not_combined(world: World, tmp_path: Path) -> None:
    for name, fps in (("slow", 8.0), ("fast", 16.0)):
        train_by_hand(world.denoiser, SPECS["lora"])
        card = make_card(SPECS["lora"], world.card.digest).model_copy(update={"fps": fps})
        save_adapter(tmp_path / name, world.denoiser, card)
        remove_adapter(world.denoiser)
    both = request(adapters=[{"path": tmp_path / "slow"}, {"path": tmp_path / "fast", "weight": 0.3}])
    with pytest.raises(RecipeError, match="8 fps, stretch and 16 fps, stretch"):
        resolve(world, both)


def test_weights_that_are_not_the_card_s_are_not_added_up(world: World, tmp_path: Path) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "one", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    card = tmp_path / "one" / "adapter.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"weights_digest": "0" * 64}))
    with pytest.raises(AdapterError, match="not those of the card"):
        load_adapters([(tmp_path / "one", 0.5)], world.denoiser, world.card.digest)
    assert wrapped_modules(world.denoiser) == []
