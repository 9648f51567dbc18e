"""A real websocket server on loopback that speaks openpi's form, written with msgpack alone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

from worldtune.errors import UserError
from worldtune.policy.protocol import Control, Observation
from worldtune.policy.remote.client import RemotePolicy
from worldtune.policy.simulation.evaluate import run_episode

Answer = Callable[[dict[str, Any]], bytes | str]
SEEN = Observation(
    np.arange(48, dtype=np.uint8).reshape(4, 4, 3), np.zeros((4, 4, 3), np.uint8), np.ones(4, np.float32), "press it"
)


def array(value: np.ndarray) -> dict[bytes, Any]:
    return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}


def chunk(actions_HA: np.ndarray) -> bytes:
    return msgpack.packb({"actions": array(actions_HA), "server_timing": {"infer_ms": 1.5}})


@contextmanager
def server(answer: Answer, metadata: bytes | str = b"\x80") -> Iterator[str]:
    """Yield the address of a server that sends its metadata once, and then an answer to each message."""

    def talk(connection: ServerConnection) -> None:
        connection.send(metadata)
        for message in connection:
            reply = answer(msgpack.unpackb(message))
            connection.send(reply)
            if isinstance(reply, str):  # as openpi's server does after its traceback
                connection.close(1011)

    with serve(talk, "127.0.0.1", 0, compression=None, max_size=None) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{listening.socket.getsockname()[1]}"
        listening.shutdown()
        thread.join()


@contextmanager
def policy(answer: Answer, metadata: bytes | str = b"\x80") -> Iterator[RemotePolicy]:
    with server(answer, metadata) as address:
        opened = RemotePolicy(address)
        yield opened
        opened.close()


def test_observation_and_actions_cross_the_wire_unchanged() -> None:
    received: list[dict[str, Any]] = []
    actions_HA = np.arange(12, dtype=np.float32).reshape(3, 4)

    def answer(request: dict[str, Any]) -> bytes:
        received.append(request)
        return chunk(actions_HA)

    with policy(answer, msgpack.packb({"executed": 2})) as remote:
        assert remote.control == Control("command", executed=2)
        remote.reset()
        assert np.array_equal(remote.act(SEEN), actions_HA)
    (request,) = received
    assert set(request) == {"observation/image", "observation/first_image", "observation/state", "prompt"}
    assert request["observation/image"] == array(SEEN.frame_HWC) | {b"shape": [4, 4, 3]}
    assert request["observation/state"] == array(SEEN.state_S) | {b"shape": [4]}
    assert request["prompt"] == "press it"


def test_policy_from_outside_solves_the_task(scene: Any, demonstrations: Any) -> None:
    demo = demonstrations[0]
    rows = iter(demo.actions.reshape(-1, 20).astype(np.float64))
    with policy(lambda request: chunk(next(rows)[None])) as remote:
        assert run_episode(scene, remote, demo.seed, 20, "outside") == (True, demo.success_step // 5 + 1)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("Traceback (most recent call last):\n  File x\nKeyError: 'image'", r"it is an error: KeyError: 'image'"),
        (msgpack.packb([1]), "it is list, not a map"),
        (msgpack.packb({"action": 1}), "it does not contain actions as an array"),
        (msgpack.packb({"actions": array(np.zeros(3, np.uint8))}), "it does not contain actions as an array"),
        (b"\xc1", "not a message of openpi's form"),
    ],
)
def test_unusable_answer_is_one_line(reply: bytes | str, message: str) -> None:
    with policy(lambda request: reply) as remote, pytest.raises(UserError, match=message) as error:
        remote.act(SEEN)
    assert error.value.where == remote.address


def test_server_that_goes_away_is_one_line() -> None:
    with server(lambda request: chunk(np.zeros((1, 4)))) as address:
        remote = RemotePolicy(address)
    with pytest.raises(UserError, match="the connection to the policy server was lost"):
        remote.act(SEEN)


def test_nothing_listens() -> None:
    with server(lambda request: b"") as address:
        pass
    with pytest.raises(UserError, match="the policy server cannot be reached"):
        RemotePolicy(address)


@pytest.mark.parametrize("metadata", [msgpack.packb({"executed": 0}), msgpack.packb(7), "busy"])
def test_unusable_metadata_is_an_error(metadata: bytes | str) -> None:
    with server(lambda request: b"", metadata) as address, pytest.raises(UserError, match="answer cannot be used"):
        RemotePolicy(address)
