"""A server on loopback with OpenAI's chat-completions API, including images."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from support.loopback import Desk, listening


@dataclass(frozen=True, eq=False)
class ChatRequest:
    """A question; `frames` are its decoded JPEG images, (H, W, 3) each."""

    path: str
    key: str | None
    body: dict[str, Any]
    text: str
    frames: list[np.ndarray]


@dataclass(frozen=True)
class Reply:
    """A response body and status; with `cut` the connection breaks before its end."""

    body: bytes
    status: int = 200
    cut: bool = False


@dataclass
class Chat:
    """A running server: `url` is the value for --endpoint, `requests` are the questions so far."""

    url: str
    requests: list[ChatRequest] = field(default_factory=list)


def completion(content: object, end: str = "stop") -> Reply:
    message = {"role": "assistant", "content": content}
    answer = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": end}]}
    return Reply(json.dumps(answer).encode())


@contextmanager
def serving(answer: Callable[[ChatRequest], Reply]) -> Iterator[Chat]:
    """Run the server within the block; `answer` returns the reply to each question."""

    class Handler(Desk):
        protocol_version = "HTTP/1.0"  # one connection per question

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = _parse_request(self.path, self.headers.get("Authorization"), body)
            chat.requests.append(request)
            reply = answer(request)
            self.answer(reply.status, reply.body, {}, 4 if reply.cut else None)

    with listening(Handler) as address:
        chat = Chat(f"{address}/v1")
        yield chat


def _parse_request(path: str, authorization: str | None, body: dict[str, Any]) -> ChatRequest:
    (message,) = body["messages"]
    assert message["role"] == "user"
    *pictures, text = message["content"]
    assert text["type"] == "text"
    assert all(picture["type"] == "image_url" for picture in pictures)
    key = None if authorization is None else authorization.removeprefix("Bearer ")
    return ChatRequest(
        path, key, body, text["text"], [_decode_url(picture["image_url"]["url"]) for picture in pictures]
    )


def _decode_url(url: str) -> np.ndarray:
    head, data = url.split(",")
    assert head == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data, validate=True), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
