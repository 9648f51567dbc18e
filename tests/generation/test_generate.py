import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import worldtune
from support.adapters import SPECS, make_card, train_by_hand
from support.generation_requests import FILM, made, make, request
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.episodes.scan import measure
from worldtune.episodes.video import read_frames
from worldtune.files import digest_file
from worldtune.generation.generate import draw_noise, read_prompts, write_result
from worldtune.generation.long_video import count_chunks
from worldtune.generation.request import GenerationRequest
from worldtune.generation.resolve import resolve
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World


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


@pytest.mark.parametrize(
    ("frames", "chunk", "overlap", "count"),
    [(77, 77, 1, 1), (78, 77, 1, 2), (153, 77, 1, 2), (154, 77, 1, 3), (9, 77, 5, 1), (1, 1, 1, 1), (5, 5, 5, 1)],
)
def test_how_many_chunks(frames: int, chunk: int, overlap: int, count: int) -> None:
    """NVIDIA's count: 1 + ceil((N − chunk)/(chunk − overlap))."""
    assert count_chunks(frames, chunk, overlap) == count
