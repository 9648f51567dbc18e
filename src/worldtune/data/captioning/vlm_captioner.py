"""Vision-language models: behind an OpenAI-compatible endpoint, or a local one of transformers.

Shapes: T frames, H height, W width.
"""

import base64
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import cv2
import httpx2
import numpy as np
from jinja2 import TemplateError

from worldtune.core.pretrained import SAFE_LOADING
from worldtune.data.captioning.captions import single_line
from worldtune.errors import UserError, first_line

MAX_IMAGE_SIDE = 512  # pixels of an image's longer side, as the model sees it
MAX_TOKENS = 256  # the longest answer, for a model that does not write out its thinking
TIMEOUT_SECONDS = 120.0  # seconds
THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)  # what some models write before they answer
CAPTION_QUESTION = (
    "These are {count} frames, in order, of a video of a robot{view}.{task} Describe the video in one paragraph of at "
    "most 80 words, for a model that makes such videos: the viewpoint first, then the robot and what stands where in "
    "the first frame, then how the robot moves. Say only what can be seen. Answer with the paragraph alone."
)


@dataclass(frozen=True)
class SamplingParams:
    """How an answer is sampled: the likeliest words at temperature 0, otherwise different words for each seed."""

    temperature: float = 0.0
    seed: int = 0


GREEDY = SamplingParams()


class VisionLanguageModel(Protocol):
    """A model that answers a question about images.

    A caption's origin contains `name`; `identity` covers everything but the question that its answers depend on.
    """

    name: str
    identity: str

    def answer(self, frames_THWC: Sequence[np.ndarray], question: str, sampling: SamplingParams = GREEDY) -> str:
        """Return the answer in one line. Raise UserError if there is none."""
        ...


def caption_question(task: str, viewpoint: str, count: int) -> str:
    """Return the question to ask about a recording."""
    view = f", seen by the camera {viewpoint!r}" if viewpoint else ""
    return CAPTION_QUESTION.format(count=count, view=view, task=f" Its task: {task.strip()}." if task.strip() else "")


class Endpoint:
    """`POST url/chat/completions`, as OpenAI, vLLM, SGLang, llama.cpp and Ollama answer it.

    The key comes from the environment variable WORLDTUNE_VLM_KEY, if it is set.
    """

    def __init__(self, url: str, model: str, tokens: int = MAX_TOKENS, timeout: float = TIMEOUT_SECONDS) -> None:
        self._tokens = tokens
        self.name = f"{model} at {url}"
        self.identity = f"{self.name}, {tokens} tokens, {MAX_IMAGE_SIDE} pixels"
        self._url = url.rstrip("/") + "/chat/completions"
        self._model = model
        key = os.environ.get("WORLDTUNE_VLM_KEY")
        if not (key or "").isascii():
            raise self._error("the key contains characters outside ASCII")
        self._client = httpx2.Client(timeout=timeout, headers={"Authorization": f"Bearer {key}"} if key else {})

    def answer(self, frames_THWC: Sequence[np.ndarray], question: str, sampling: SamplingParams = GREEDY) -> str:
        images = [{"type": "image_url", "image_url": {"url": _data_url(frame)}} for frame in frames_THWC]
        message = {"role": "user", "content": [*images, {"type": "text", "text": question}]}
        request = {
            "model": self._model,
            "messages": [message],
            "temperature": sampling.temperature,
            "seed": sampling.seed,
        }
        try:
            answer = self._client.post(self._url, json=request | {"max_tokens": self._tokens})
            answer.raise_for_status()
        except httpx2.HTTPStatusError as error:
            reply = single_line(error.response.text)[:200]
            raise self._error(f"the endpoint answered {error.response.status_code}: {reply}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:  # UnicodeError: an invalid host name
            raise self._error(f"the endpoint cannot be reached: {first_line(error)}") from error
        try:
            choice = answer.json()["choices"][0]
            text, end = choice["message"]["content"], choice.get("finish_reason")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            raise self._error(
                f"the endpoint's answer is not a chat completion: {single_line(answer.text)[:200]}"
            ) from error
        if end == "length":
            raise self._error(
                f"the answer is cut off after {self._tokens} tokens: use a model that does not write out its thinking"
            )
        return _clean_answer(text, self._error)

    def _error(self, what: str) -> UserError:
        return UserError(what, where=self._url, hint="Check --endpoint, --model and WORLDTUNE_VLM_KEY.")


class LocalModel:
    """An image-and-text model of transformers, from a folder or the Hub. Raise UserError if it cannot be loaded."""

    def __init__(self, path: str, device: str, tokens: int = MAX_TOKENS) -> None:
        from safetensors import SafetensorError
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.name, self._path, self._tokens = path, path, tokens
        self._lock = Lock()  # all sampling uses one random generator
        self.identity = f"{path}, {tokens} tokens, {MAX_IMAGE_SIDE} pixels, {_file_states(Path(path))}"
        try:
            self._processor = AutoProcessor.from_pretrained(path, **SAFE_LOADING)
            model = AutoModelForImageTextToText.from_pretrained(
                path, dtype="auto", use_safetensors=True, **SAFE_LOADING
            )
            self._model = model.to(device).eval()
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            raise self._error(f"the model cannot be loaded: {first_line(error)}") from error

    def answer(self, frames_THWC: Sequence[np.ndarray], question: str, sampling: SamplingParams = GREEDY) -> str:
        import torch

        content = [{"type": "image"} for _ in frames_THWC] + [{"type": "text", "text": question}]
        request = [{"role": "user", "content": content}]
        images = [_downscale(frame_HWC) for frame_HWC in frames_THWC]
        try:
            prompt = self._processor.apply_chat_template(request, tokenize=False, add_generation_prompt=True)
            inputs = self._processor(text=[prompt], images=images, return_tensors="pt").to(self._model.device)
        except (ValueError, TypeError, TemplateError) as error:
            raise self._error(f"the model does not accept images and text: {first_line(error)}") from error
        options = (
            {"do_sample": True, "temperature": sampling.temperature} if sampling.temperature else {"do_sample": False}
        )
        with self._lock, torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(sampling.seed)
            try:
                tokens = self._model.generate(**inputs, max_new_tokens=self._tokens, **options)
            except torch.OutOfMemoryError as error:
                raise self._error("not enough memory for an answer") from error
        reply = self._processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
        return _clean_answer(reply, self._error)

    def _error(self, what: str) -> UserError:
        return UserError(what, where=self._path, hint="Specify an image-text-to-text model of transformers.")


def _file_states(folder: Path) -> list[tuple[str, int, int]]:
    """Return a list that changes whenever a file of a local model changes."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def _clean_answer(text: Any, make_error: Any) -> str:
    answer = single_line(THINKING.sub("", text)) if isinstance(text, str) else ""
    if not answer:
        raise make_error("the model gave no answer")
    return answer


def _downscale(frame_HWC: np.ndarray) -> np.ndarray:
    H, W = frame_HWC.shape[:2]
    scale = min(1.0, MAX_IMAGE_SIDE / max(H, W))
    size = max(1, round(W * scale)), max(1, round(H * scale))
    return np.asarray(cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)) if scale < 1 else frame_HWC


def _data_url(frame_HWC: np.ndarray) -> str:
    _, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(_downscale(frame_HWC), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
