"""Captions by a vision-language model: a real server on loopback, and a tiny real model in a folder."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, LlamaConfig

from support.chat import ChatRequest, Reply, completion, serving
from support.tiny_vlm import make_tiny_llava
from worldtune.data.captioning.captions import single_line
from worldtune.data.captioning.vlm_captioner import MAX_IMAGE_SIDE, MAX_TOKENS, Endpoint, LocalModel, caption_question
from worldtune.errors import UserError

from ..videos import film, read_back


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("WORLDTUNE_VLM_KEY", raising=False)


def reported(frames_THWC: np.ndarray, answer: Callable[[ChatRequest], Reply]) -> str:
    """Return the one line of the error message."""
    with serving(answer) as chat, pytest.raises(UserError) as caught:
        Endpoint(chat.url, "qwen").answer(list(frames_THWC), "What is it?")
    assert caught.value.where == f"{chat.url}/chat/completions"
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.what


def test_endpoint_gets_the_frames_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDTUNE_VLM_KEY", "sk-secret")
    with serving(lambda request: completion(" An arm\nlifts\tit.\x1b ")) as chat:
        endpoint = Endpoint(chat.url + "/", "qwen")
        assert endpoint.name == f"qwen at {chat.url}/"
        assert endpoint.answer(list(film(3, tag=5, first=7)), "What is it?") == "An arm lifts it."
    (request,) = chat.requests
    assert (request.path, request.key, request.text) == ("/v1/chat/completions", "sk-secret", "What is it?")
    assert (request.body["model"], request.body["temperature"]) == ("qwen", 0)
    assert read_back(np.stack(request.frames)) == [(5, 7), (5, 8), (5, 9)]


def test_colors_are_sent_unchanged() -> None:
    frame_HWC = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    with serving(lambda request: completion("Red.")) as chat:
        Endpoint(chat.url, "qwen").answer([frame_HWC], "?")
    assert np.abs(chat.requests[0].frames[0].astype(int) - frame_HWC).max() <= 6


@pytest.mark.parametrize(("size", "sent"), [((400, 1024), (200, 512)), ((2048, 3), (512, 1)), ((512, 300), (512, 300))])
def test_large_images_are_sent_smaller(size: tuple[int, int], sent: tuple[int, int]) -> None:
    with serving(lambda request: completion("Gray.")) as chat:
        Endpoint(chat.url, "qwen").answer([np.full((*size, 3), 128, np.uint8)], "?")
    assert chat.requests[0].frames[0].shape == (*sent, 3)
    assert max(sent) == MAX_IMAGE_SIDE


def test_no_key_is_sent_by_default() -> None:
    with serving(lambda request: completion("An arm.")) as chat:
        Endpoint(chat.url, "qwen").answer(list(film(1)), "?")
    assert chat.requests[0].key is None


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b'{"error": "no\nsuch key"}', 401), 'the endpoint answered 401: {"error": "no such key"}'),
        (Reply(b"out of memory " * 99, 500), "the endpoint answered 500: out of memory out of"),
        (Reply(b"", 307), "the endpoint answered 307"),
        (Reply(b"An arm\nlifts it."), "the endpoint's answer is not a chat completion: An arm lifts it."),
        (Reply(b"\xff\xfe"), "the endpoint's answer is not a chat completion"),
        (Reply(b""), "the endpoint's answer is not a chat completion"),
        (Reply(b"[]"), "the endpoint's answer is not a chat completion: []"),
        (Reply(b'{"choices": []}'), "the endpoint's answer is not a chat completion"),
        (Reply(b'{"choices": [{"message": "An arm."}]}'), "the endpoint's answer is not a chat completion"),
        (completion(""), "the model gave no answer"),
        (completion(" \n\x00"), "the model gave no answer"),
        (completion(None), "the model gave no answer"),
        (completion([{"type": "text"}]), "the model gave no answer"),
        (completion("<think>Is it an arm?</think>"), "the model gave no answer"),
        (completion("<think>Is it an", "length"), "the answer is cut off after 256 tokens"),
        (Reply(completion("An arm.").body, cut=True), "the endpoint cannot be reached: "),
    ],
)
def test_endpoint_failures_are_one_line_errors(reply: Reply, message: str) -> None:
    assert reported(film(1), lambda request: reply).startswith(message)


def test_thinking_is_removed_from_an_answer() -> None:
    with serving(lambda request: completion("<think>An arm?\nOr two.</think>\nAn arm lifts it.")) as chat:
        assert Endpoint(chat.url, "m").answer(list(film(1)), "What?") == "An arm lifts it."


def test_long_endpoint_error_is_shortened() -> None:
    assert len(reported(film(1), lambda request: Reply(b"out of memory " * 99, 500))) < 250


def test_refused_connection_is_a_one_line_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=r"the endpoint cannot be reached: .*refused.*WORLDTUNE_VLM_KEY"):
            Endpoint(f"http://127.0.0.1:{port}/v1", "qwen").answer(list(film(1)), "?")


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "http://[::1", "ftp://127.0.0.1", "http://" + "a" * 99 + "/v1"])
def test_invalid_address_is_a_one_line_error(url: str) -> None:
    with pytest.raises(UserError, match="the endpoint cannot be reached"):
        Endpoint(url, "qwen").answer(list(film(1)), "?")


def test_invalid_key_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, message in (("ключ", "characters outside ASCII"), ("a\nb", "cannot be reached")):
        monkeypatch.setenv("WORLDTUNE_VLM_KEY", key)
        with pytest.raises(UserError, match=message):
            Endpoint("http://127.0.0.1:1/v1", "qwen").answer(list(film(1)), "?")


def test_caption_question_contains_task_and_viewpoint() -> None:
    question = caption_question(" lift the {cup} ", "left wrist", 6)
    assert question.startswith("These are 6 frames, in order, of a video of a robot, seen by the camera 'left wrist'. ")
    assert "Its task: lift the {cup}. Describe" in question
    assert caption_question(" ", "", 1).startswith("These are 1 frames, in order, of a video of a robot. Describe")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llava(tmp_path_factory.mktemp("models") / "llava")


def generated(folder: Path, frames_THWC: np.ndarray, question: str) -> str:
    """Return the model's answer through transformers alone."""
    processor, llava = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    prompt = f"user: {'<image>' * len(frames_THWC)}{question} answer:"
    inputs = processor(text=prompt, images=[Image.fromarray(frame) for frame in frames_THWC], return_tensors="pt")
    tokens = llava.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return single_line(processor.decode(tokens, skip_special_tokens=True))


def test_local_model_answers_as_transformers_does(model: Path) -> None:
    local, frames_THWC = LocalModel(str(model), "cpu"), film(3, tag=5)
    message = local.answer(list(frames_THWC), "What?")
    assert local.name == str(model)
    assert message == generated(model, frames_THWC, "What?")
    assert message != local.answer(list(film(3, tag=85)), "What?")
    assert message != local.answer(list(frames_THWC), "Who?")


def _no_model(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def _of_text(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(LlamaConfig().to_dict() | {"model_type": "llama"}))


def _code_of_its_own(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "mine"}
    names = {"AutoConfig": "mine.Config", "AutoModelForImageTextToText": "mine.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": names}))
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


@pytest.mark.parametrize("harm", [_no_model, _no_weights, _damaged_weights, _of_text, _code_of_its_own])
def test_unloadable_model_is_a_one_line_error(model: Path, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    harm(folder)
    with pytest.raises(UserError, match=r"the model cannot be loaded: .+") as caught:
        LocalModel(str(folder), "cpu")
    assert len(str(caught.value).splitlines()) == 1
    assert not (folder / "ran").exists()


def test_model_without_a_chat_template_is_a_one_line_error(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"the model does not accept images and text: .*chat template"):
        LocalModel(str(folder), "cpu").answer(list(film(1)), "What?")
