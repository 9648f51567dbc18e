"""A server on loopback that speaks the chat-completions dialect of OpenAI's API, with pictures."""

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
class Asked:
    """A question: frames are what its JPEG pictures decode to, (H, W, 3) each."""

    path: str
    key: str | None
    body: dict[str, Any]
    text: str
    frames: list[np.ndarray]


@dataclass(frozen=True)
class Reply:
    """A body that is sent with this status; `cut`: the connection breaks before its end."""

    body: bytes
    status: int = 200
    cut: bool = False


@dataclass
class Chat:
    """`url` is what --endpoint names; `asked` are the questions so far."""

    url: str
    asked: list[Asked] = field(default_factory=list)


def completion(content: object, end: str = "stop") -> Reply:
    message = {"role": "assistant", "content": content}
    answer = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": end}]}
    return Reply(json.dumps(answer).encode())


@contextmanager
def serving(answer: Callable[[Asked], Reply]) -> Iterator[Chat]:
    """The server, which answers as `answer` says until the block ends."""

    class Handler(Desk):
        protocol_version = "HTTP/1.0"  # a connection a question

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = _asked(self.path, self.headers.get("Authorization"), body)
            chat.asked.append(asked)
            reply = answer(asked)
            self.answer(reply.status, reply.body, {}, 4 if reply.cut else None)

    with listening(Handler) as address:
        chat = Chat(f"{address}/v1")
        yield chat


def _asked(path: str, authorization: str | None, body: dict[str, Any]) -> Asked:
    (message,) = body["messages"]
    assert message["role"] == "user"
    *pictures, text = message["content"]
    assert text["type"] == "text"
    assert all(picture["type"] == "image_url" for picture in pictures)
    key = None if authorization is None else authorization.removeprefix("Bearer ")
    return Asked(path, key, body, text["text"], [_decoded(picture["image_url"]["url"]) for picture in pictures])


def _decoded(url: str) -> np.ndarray:
    head, data = url.split(",")
    assert head == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data, validate=True), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
