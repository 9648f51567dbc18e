"""A vision-language model: behind an OpenAI-compatible endpoint, or a local one of transformers.

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

from worldtune.episodes.captions import printable
from worldtune.errors import UserError, first_line

LONGEST = 512  # pixels of a picture's longer side, as the model sees it
WORDS = 256  # tokens of an answer, at most, of a model that does not think aloud
PATIENCE = 120.0  # seconds
SAFE = {"trust_remote_code": False}  # a model's own code does not run here
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)  # what some models say before they answer
QUESTION = (
    "These are {count} frames, in order, of a video of a robot{view}.{task} Describe the video in one paragraph of at "
    "most 80 words, for a model that makes such videos: the viewpoint first, then the robot and what stands where in "
    "the first frame, then how the robot moves. Say only what can be seen. Answer with the paragraph alone."
)


@dataclass(frozen=True)
class Draw:
    """How an answer is drawn: the likeliest words at temperature 0, else others for every seed."""

    temperature: float = 0.0
    seed: int = 0


LIKELIEST = Draw()


class Describer(Protocol):
    """Answers a question about pictures.

    `name` is what a caption's origin says of it, `identity` covers what its answers depend on beside the question.
    """

    name: str
    identity: str

    def describe(self, frames_THWC: Sequence[np.ndarray], question: str, draw: Draw = LIKELIEST) -> str:
        """The answer in one line. Raises UserError when there is none."""
        ...


def question_for(task: str, viewpoint: str, count: int) -> str:
    """What to ask about a recording."""
    view = f", seen by the camera {viewpoint!r}" if viewpoint else ""
    return QUESTION.format(count=count, view=view, task=f" Its task: {task.strip()}." if task.strip() else "")


class Endpoint:
    """`POST url/chat/completions`, as OpenAI, vLLM, SGLang, llama.cpp and Ollama answer it.

    The key is that of the environment variable WORLDTUNE_VLM_KEY, if there is one.
    """

    def __init__(self, url: str, model: str, tokens: int = WORDS, patience: float = PATIENCE) -> None:
        self._tokens = tokens
        self.name = f"{model} at {url}"
        self.identity = f"{self.name}, {tokens} tokens, {LONGEST} pixels"
        self._url = url.rstrip("/") + "/chat/completions"
        self._model = model
        key = os.environ.get("WORLDTUNE_VLM_KEY")
        if not (key or "").isascii():
            raise self._fault("the key has letters that no key has")
        self._client = httpx2.Client(timeout=patience, headers={"Authorization": f"Bearer {key}"} if key else {})

    def describe(self, frames_THWC: Sequence[np.ndarray], question: str, draw: Draw = LIKELIEST) -> str:
        pictures = [{"type": "image_url", "image_url": {"url": _data_url(frame)}} for frame in frames_THWC]
        message = {"role": "user", "content": [*pictures, {"type": "text", "text": question}]}
        asked = {"model": self._model, "messages": [message], "temperature": draw.temperature, "seed": draw.seed}
        try:
            answer = self._client.post(self._url, json=asked | {"max_tokens": self._tokens})
            answer.raise_for_status()
        except httpx2.HTTPStatusError as error:
            said = printable(error.response.text)[:200]
            raise self._fault(f"the endpoint answers {error.response.status_code}: {said}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:  # UnicodeError: of a name that is none
            raise self._fault(f"the endpoint cannot be reached: {first_line(error)}") from error
        try:
            choice = answer.json()["choices"][0]
            text, end = choice["message"]["content"], choice.get("finish_reason")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            raise self._fault(f"the endpoint's answer is no chat completion: {printable(answer.text)[:200]}") from error
        if end == "length":
            raise self._fault(
                f"the answer is cut off after {self._tokens} tokens: take a model that does not think aloud"
            )
        return _refuse_empty(text, self._fault)

    def _fault(self, what: str) -> UserError:
        return UserError(what, where=self._url, mend="See --endpoint, --model and WORLDTUNE_VLM_KEY.")


class LocalModel:
    """An image-and-text model of transformers, from a folder or the Hub. Raises UserError when it cannot be loaded."""

    def __init__(self, path: str, device: str, tokens: int = WORDS) -> None:
        from safetensors import SafetensorError
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.name, self._path, self._tokens = path, path, tokens
        self._lock = Lock()  # its draws are from one generator
        self.identity = f"{path}, {tokens} tokens, {LONGEST} pixels, {_state(Path(path))}"
        try:
            self._processor = AutoProcessor.from_pretrained(path, **SAFE)
            model = AutoModelForImageTextToText.from_pretrained(path, dtype="auto", use_safetensors=True, **SAFE)
            self._model = model.to(device).eval()
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            raise self._fault(f"the model cannot be loaded: {first_line(error)}") from error

    def describe(self, frames_THWC: Sequence[np.ndarray], question: str, draw: Draw = LIKELIEST) -> str:
        import torch

        content = [{"type": "image"} for _ in frames_THWC] + [{"type": "text", "text": question}]
        asked = [{"role": "user", "content": content}]
        images = [_shrunk(frame_HWC) for frame_HWC in frames_THWC]
        try:
            prompt = self._processor.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            inputs = self._processor(text=[prompt], images=images, return_tensors="pt").to(self._model.device)
        except (ValueError, TypeError, TemplateError) as error:
            raise self._fault(f"the model cannot be asked: {first_line(error)}") from error
        chosen = {"do_sample": True, "temperature": draw.temperature} if draw.temperature else {"do_sample": False}
        with self._lock, torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(draw.seed)
            try:
                tokens = self._model.generate(**inputs, max_new_tokens=self._tokens, **chosen)
            except torch.OutOfMemoryError as error:
                raise self._fault("there is not enough memory for an answer") from error
        said = self._processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
        return _refuse_empty(said, self._fault)

    def _fault(self, what: str) -> UserError:
        return UserError(what, where=self._path, mend="Name an image-text-to-text model of transformers.")


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Another list whenever a file of a local model is another."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def _refuse_empty(text: Any, fault: Any) -> str:
    answer = printable(THOUGHT.sub("", text)) if isinstance(text, str) else ""
    if not answer:
        raise fault("the model gives no answer")
    return answer


def _shrunk(frame_HWC: np.ndarray) -> np.ndarray:
    H, W = frame_HWC.shape[:2]
    scale = min(1.0, LONGEST / max(H, W))
    size = max(1, round(W * scale)), max(1, round(H * scale))
    return np.asarray(cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)) if scale < 1 else frame_HWC


def _data_url(frame_HWC: np.ndarray) -> str:
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(_shrunk(frame_HWC), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
