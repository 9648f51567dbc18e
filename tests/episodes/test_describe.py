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

from support.chat import Asked, Reply, completion, serving
from support.tiny_vlm import make_tiny_llava
from worldtune.episodes.captions import printable
from worldtune.episodes.describe import LONGEST, WORDS, Endpoint, LocalModel, question_for
from worldtune.errors import UserError

from .films import film, read_back


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("WORLDTUNE_VLM_KEY", raising=False)


def told(frames_THWC: np.ndarray, answer: Callable[[Asked], Reply]) -> str:
    """The one line of the fault."""
    with serving(answer) as chat, pytest.raises(UserError) as caught:
        Endpoint(chat.url, "qwen").describe(list(frames_THWC), "What is it?")
    assert caught.value.where == f"{chat.url}/chat/completions"
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.what


def test_an_endpoint_is_asked_with_the_frames_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDTUNE_VLM_KEY", "sk-secret")
    with serving(lambda asked: completion(" An arm\nlifts\tit.\x1b ")) as chat:
        endpoint = Endpoint(chat.url + "/", "qwen")
        assert endpoint.name == f"qwen at {chat.url}/"
        assert endpoint.describe(list(film(3, tag=5, first=7)), "What is it?") == "An arm lifts it."
    (asked,) = chat.asked
    assert (asked.path, asked.key, asked.text) == ("/v1/chat/completions", "sk-secret", "What is it?")
    assert (asked.body["model"], asked.body["temperature"]) == ("qwen", 0)
    assert read_back(np.stack(asked.frames)) == [(5, 7), (5, 8), (5, 9)]


def test_colours_arrive_as_they_are() -> None:
    frame_HWC = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    with serving(lambda asked: completion("Red.")) as chat:
        Endpoint(chat.url, "qwen").describe([frame_HWC], "?")
    assert np.abs(chat.asked[0].frames[0].astype(int) - frame_HWC).max() <= 6


@pytest.mark.parametrize(("size", "sent"), [((400, 1024), (200, 512)), ((2048, 3), (512, 1)), ((512, 300), (512, 300))])
def test_large_pictures_are_sent_smaller(size: tuple[int, int], sent: tuple[int, int]) -> None:
    with serving(lambda asked: completion("Grey.")) as chat:
        Endpoint(chat.url, "qwen").describe([np.full((*size, 3), 128, np.uint8)], "?")
    assert chat.asked[0].frames[0].shape == (*sent, 3)
    assert max(sent) == LONGEST


def test_without_a_key_none_is_sent() -> None:
    with serving(lambda asked: completion("An arm.")) as chat:
        Endpoint(chat.url, "qwen").describe(list(film(1)), "?")
    assert chat.asked[0].key is None


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b'{"error": "no\nsuch key"}', 401), 'the endpoint answers 401: {"error": "no such key"}'),
        (Reply(b"out of memory " * 99, 500), "the endpoint answers 500: out of memory out of"),
        (Reply(b"", 307), "the endpoint answers 307"),
        (Reply(b"An arm\nlifts it."), "the endpoint's answer is no chat completion: An arm lifts it."),
        (Reply(b"\xff\xfe"), "the endpoint's answer is no chat completion"),
        (Reply(b""), "the endpoint's answer is no chat completion"),
        (Reply(b"[]"), "the endpoint's answer is no chat completion: []"),
        (Reply(b'{"choices": []}'), "the endpoint's answer is no chat completion"),
        (Reply(b'{"choices": [{"message": "An arm."}]}'), "the endpoint's answer is no chat completion"),
        (completion(""), "the model gives no answer"),
        (completion(" \n\x00"), "the model gives no answer"),
        (completion(None), "the model gives no answer"),
        (completion([{"type": "text"}]), "the model gives no answer"),
        (completion("<think>Is it an arm?</think>"), "the model gives no answer"),
        (completion("<think>Is it an", "length"), "the answer is cut off after 256 tokens"),
        (Reply(completion("An arm.").body, cut=True), "the endpoint cannot be reached: "),
    ],
)
def test_whatever_goes_wrong_is_one_line(reply: Reply, said: str) -> None:
    assert told(film(1), lambda asked: reply).startswith(said)


def test_what_a_model_thinks_aloud_is_no_part_of_its_answer() -> None:
    with serving(lambda asked: completion("<think>An arm?\nOr two.</think>\nAn arm lifts it.")) as chat:
        assert Endpoint(chat.url, "m").describe(list(film(1)), "What?") == "An arm lifts it."


def test_what_an_endpoint_says_is_told_in_part() -> None:
    assert len(told(film(1), lambda asked: Reply(b"out of memory " * 99, 500))) < 250


def test_nobody_listening_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=r"the endpoint cannot be reached: .*refused.*WORLDTUNE_VLM_KEY"):
            Endpoint(f"http://127.0.0.1:{port}/v1", "qwen").describe(list(film(1)), "?")


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "http://[::1", "ftp://127.0.0.1", "http://" + "a" * 99 + "/v1"])
def test_an_address_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match="the endpoint cannot be reached"):
        Endpoint(url, "qwen").describe(list(film(1)), "?")


def test_a_key_that_cannot_be_sent_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, said in (("ключ", "letters that no key has"), ("a\nb", "cannot be reached")):
        monkeypatch.setenv("WORLDTUNE_VLM_KEY", key)
        with pytest.raises(UserError, match=said):
            Endpoint("http://127.0.0.1:1/v1", "qwen").describe(list(film(1)), "?")


def test_the_question_says_what_is_known() -> None:
    asked = question_for(" lift the {cup} ", "left wrist", 6)
    assert asked.startswith("These are 6 frames, in order, of a video of a robot, seen by the camera 'left wrist'. ")
    assert "Its task: lift the {cup}. Describe" in asked
    assert question_for(" ", "", 1).startswith("These are 1 frames, in order, of a video of a robot. Describe")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llava(tmp_path_factory.mktemp("models") / "llava")


def generated(folder: Path, frames_THWC: np.ndarray, question: str) -> str:
    """What the model says, asked by transformers alone."""
    processor, llava = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    prompt = f"user: {'<image>' * len(frames_THWC)}{question} answer:"
    inputs = processor(text=prompt, images=[Image.fromarray(frame) for frame in frames_THWC], return_tensors="pt")
    tokens = llava.generate(**inputs, max_new_tokens=WORDS, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return printable(processor.decode(tokens, skip_special_tokens=True))


def test_a_local_model_says_what_it_generates(model: Path) -> None:
    local, frames_THWC = LocalModel(str(model), "cpu"), film(3, tag=5)
    said = local.describe(list(frames_THWC), "What?")
    assert local.name == str(model)
    assert said == generated(model, frames_THWC, "What?")
    assert said != local.describe(list(film(3, tag=85)), "What?")
    assert said != local.describe(list(frames_THWC), "Who?")


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
def test_a_model_that_cannot_be_loaded_is_one_line(model: Path, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    harm(folder)
    with pytest.raises(UserError, match=r"the model cannot be loaded: .+") as caught:
        LocalModel(str(folder), "cpu")
    assert len(str(caught.value).splitlines()) == 1
    assert not (folder / "ran").exists()


def test_a_model_without_a_chat_template_is_one_line(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"the model cannot be asked: .*chat template"):
        LocalModel(str(folder), "cpu").describe(list(film(1)), "What?")
