import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from diffusers.pipelines.cosmos.pipeline_cosmos2_5_predict import DEFAULT_NEGATIVE_PROMPT

import worldtune
from support.adapters import SPECS, make_card, train_by_hand
from support.generation_requests import FILM, made, make, request
from support.progress import Recorded
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.core.files import digest_file
from worldtune.data.video.decode import read_frames
from worldtune.data.video.video_index import measure_video
from worldtune.errors import UserError
from worldtune.generation.chunk import draw_noise
from worldtune.generation.generate import generate, read_prompts, write_result
from worldtune.generation.long_video import count_chunks
from worldtune.generation.request import GenerationRequest
from worldtune.generation.validate_request import resolve
from worldtune.models.load import open_world
from worldtune.models.world import World


def test_each_prompt_is_encoded_once_and_the_encoder_released(tiny_world: Path) -> None:
    world = open_world(str(tiny_world))
    requests = [request(name=name, guidance=guidance) for name, guidance in (("a", 2), ("b", 2), ("c", 0))]
    last = request(name="d", prompt="the square goes down", negative_prompt="the square goes right", guidance=1)
    requests.append(last)
    jobs, read = [resolve(world, one) for one in requests], []
    assert "model" not in vars(world.text)  # counting tokens needs no weights
    embed = world.text.embed
    vars(world.text)["embed"] = lambda prompts, *, cut: read.extend(prompts) or embed(prompts, cut=cut)
    texts = read_prompts(world, jobs)
    assert sorted(read) == sorted(texts) == sorted({*(one.prompt for one in requests), jobs[0].negative_prompt})
    assert "text" not in vars(world)
    again = world.encode_prompts(["the square goes down"])
    assert torch.equal(texts["the square goes down"], again)


def test_a_video_has_the_requested_size(world: World) -> None:
    frames_THWC = make(world, request(resolution="32,48", num_output_frames=5))
    assert frames_THWC.shape == (5, 32, 48, 3)
    assert frames_THWC.dtype == np.uint8


def test_the_default_size_is_the_base_s(world: World) -> None:
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
def test_input_frames_are_kept_as_the_codec_decodes_them(world: World, video: Path, kind: str, known: int) -> None:
    frames_THWC = make(world, request(kind, input_path=video, num_steps=4))
    given_THWC = np.stack(list(read_frames(video))[-known:])
    seen = world.decode(world.encode(torch.from_numpy(given_THWC)[None]))[0].numpy()
    assert np.abs(frames_THWC[:known].astype(int) - seen).max() <= 1


def test_the_manifest_records_every_input(world: World, video: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("the square goes right\n")
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    job = request(
        "video2world", input_path=video, prompt=None, prompt_path=tmp_path / "prompt.txt", seed=7,
        adapter=tmp_path / "adapter",
    )  # fmt: skip
    path = write_result(world, resolve(world, job), FILM, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert path == tmp_path / "out" / "clip.mp4"
    assert manifest["video"] == {"sha256": digest_file(path), "frames": 9, "height": 32, "width": 32, "fps": 16}
    assert manifest["request"]["prompt"] == "the square goes right"
    assert manifest["request"]["seed"] == 7
    assert GenerationRequest.model_validate(manifest["request"] | {"prompt_path": None}).guidance == 0
    card = world.card
    assert manifest["base"] == {
        "name": "tiny", "source": card.source, "trained_as": "pocket", "revision": None, "digest": card.digest
    }  # fmt: skip
    (used,) = manifest["adapters"]
    assert used["card"] == digest_file(tmp_path / "adapter" / "adapter.json")
    assert used["weight"] == 1
    assert manifest["input"] == {"sha256": digest_file(video), "fit": "stretch", "fps": 16}
    assert manifest["text"]["base_reads"] == 64
    assert manifest["text"]["negative_prompt"] == "not used: no guidance"
    schedule = {"name": "karras 200…0.01", "steps": 2, "evaluations": 3, "chunks": 1, "conditional_sigma": 0.0001}
    assert manifest["schedule"] == schedule
    assert manifest["guardrails"] == []
    assert manifest["worldtune"] == worldtune.__version__


def test_the_mp4_holds_the_frames(world: World, tmp_path: Path) -> None:
    path = write_result(world, resolve(world, request()), FILM, tmp_path / "out")
    measured = measure_video(path)
    assert (measured.frames, measured.fps, measured.height, measured.width) == (9, 16, 32, 32)
    back_THWC = np.stack(list(read_frames(path)))
    assert np.abs(back_THWC.astype(int) - FILM).mean() < 6
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["clip.json", "clip.mp4"]


def test_no_video_is_written_without_its_manifest(world: World, video: Path, tmp_path: Path) -> None:
    resolved = resolve(world, request("image2world", input_path=video))
    video.unlink()
    with pytest.raises(FileNotFoundError):
        write_result(world, resolved, FILM, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_size_and_speed_default_to_the_adapter_s(world: World, tmp_path: Path, video: Path) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    card = make_card(SPECS["lora"], world.card.digest).model_copy(update={"fps": 10.0, "frames": 13, "width": 48})
    save_adapter(tmp_path / "adapter", world.denoiser, card)
    remove_adapter(world.denoiser)
    bare = request("image2world", input_path=video, resolution="none", num_output_frames=None)
    resolved = resolve(world, bare.model_copy(update={"adapter": tmp_path / "adapter"}))
    assert (resolved.frames, resolved.height, resolved.width, resolved.fps) == (13, 32, 48, 10)
    assert resolved.fit == "stretch"
    path = write_result(world, resolved, made(world, resolved), tmp_path / "out")
    assert measure_video(path).fps == 10
    without = resolve(world, bare)
    assert (without.frames, without.width, without.fps, without.fit) == (21, 64, 16, "cover")


def test_the_manifest_reports_a_truncated_negative_prompt(world: World, tmp_path: Path) -> None:
    long = resolve(world, request(guidance=2))  # the default negative prompt is longer than this base reads
    write_result(world, long, FILM, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert manifest["text"]["prompt_tokens"] < 64
    recorded = manifest["request"]
    assert (recorded["guidance"], recorded["negative_prompt"]) == (2, DEFAULT_NEGATIVE_PROMPT)
    assert manifest["text"]["negative_prompt"].startswith(f"cut: the last {long.negative_tokens - 64} of its")
    short = resolve(world, request(guidance=2, negative_prompt="blurry"))
    write_result(world, short, FILM, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "clip.json").read_text())["text"]["negative_prompt"] == "read whole"


def test_numpy_noise_equals_nvidia_s(world: World) -> None:
    expected = np.random.RandomState(5).standard_normal((1, 2, 3)).astype(np.float32)
    assert np.array_equal(draw_noise((1, 2, 3), 5, "numpy").numpy(), expected)
    assert not np.array_equal(make(world, request(noise="numpy")), make(world, request()))
    with pytest.raises(ValueError, match="numpy's seeds"):
        request(noise="numpy", seed=2**40)


def test_karras_bases_evaluate_once_more_than_num_steps(world: World, tiny_world: Path) -> None:
    assert resolve(world, request(num_steps=35)).evaluations == 36
    other = open_world(f"predict2.5-2b/pre-trained={tiny_world}")
    assert resolve(other, request(num_steps=35)).evaluations == 35
    progress = Recorded()
    made(world, resolve(world, request(num_steps=2)), progress)
    assert progress.counts == [(1, 3), (2, 3), (3, 3)]


def test_a_long_video_begins_with_the_first_chunk(world: World) -> None:
    long = request(num_output_frames=20, enable_autoregressive=True, chunk_size=9, chunk_overlap=5, seed=7)
    progress = Recorded()
    frames_THWC = made(world, resolve(world, long), progress)
    assert frames_THWC.shape == (20, 32, 32, 3)
    assert progress.counts == [(done, 12) for done in range(1, 4 * 3 + 1)]  # four chunks of three evaluations
    first = make(world, request(num_output_frames=9, seed=7))
    assert np.array_equal(frames_THWC[:9], first)


def test_the_second_chunk_continues_the_first(world: World, tmp_path: Path) -> None:
    """The second chunk equals an image2world request with the next seed and the first chunk's last frame."""
    long = request(num_output_frames=17, enable_autoregressive=True, chunk_size=9, chunk_overlap=1, seed=7)
    frames_THWC = make(world, long)
    cv2.imwrite(str(tmp_path / "end.png"), frames_THWC[8][:, :, ::-1])
    second = make(world, request("image2world", input_path=tmp_path / "end.png", seed=8))
    assert np.array_equal(frames_THWC[9:], second[1:])


def test_a_long_video_of_one_chunk_is_a_plain_video(world: World) -> None:
    short = request(num_output_frames=9)
    long = short.model_copy(update={"enable_autoregressive": True, "chunk_size": 9})
    assert np.array_equal(make(world, long), make(world, short))


@pytest.mark.parametrize(
    ("frames", "chunk", "overlap", "count"),
    [(77, 77, 1, 1), (78, 77, 1, 2), (153, 77, 1, 2), (154, 77, 1, 3), (9, 77, 5, 1), (1, 1, 1, 1), (5, 5, 5, 1)],
)
def test_count_chunks(frames: int, chunk: int, overlap: int, count: int) -> None:
    """NVIDIA's count: 1 + ceil((N − chunk)/(chunk − overlap))."""
    assert count_chunks(frames, chunk, overlap) == count


@pytest.mark.parametrize("part", ["the generated video contains NaN or infinity", "decodes latents to NaN or infinity"])
def test_a_video_with_nan_is_an_error(tiny_world: Path, part: str) -> None:
    world = open_world(str(tiny_world))
    spoilt = world.denoiser.proj_out if "contains" in part else world.codec.vae.decoder.conv_out
    with torch.no_grad():
        spoilt.weight.fill_(float("nan"))
    with pytest.raises(UserError, match=part):
        generate(world, resolve(world, request()), {"the square goes right": torch.zeros(1, 8, 32)})
