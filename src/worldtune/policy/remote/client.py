"""A policy from outside: the client of a server that speaks openpi's websocket protocol.

Protocol: github.com/Physical-Intelligence/openpi, `openpi_client/websocket_client_policy.py` (Apache-2.0). The server
sends its metadata once; then each message is an observation, and its answer a map with `actions` (H, A). An answer that
is text is the server's traceback. So π0, or ACT and Diffusion Policy of lerobot behind such a server, join unchanged.

The observation has the keys of openpi's LIBERO example: "observation/image" (uint8 H, W, 3), "observation/state" (S,)
and "prompt"; and "observation/first_image", the episode's first frame.
"""

from contextlib import ExitStack
from importlib import import_module
from typing import Any

import numpy as np

from worldtune.errors import UserError
from worldtune.policy.protocol import Control, Observation

ADDRESS_PREFIXES = ("ws://", "wss://")
OPEN_TIMEOUT, ANSWER_TIMEOUT = 10.0, 300.0  # seconds; a first answer may compile the model
MAX_MESSAGE = 64 << 20  # bytes


class RemotePolicy:
    """A policy behind an address such as ws://127.0.0.1:8000; its rows are mean commands.

    The server's metadata may say how many rows of a chunk are executed (`executed`, 1 if it does not). Raise UserError
    if the libraries are missing, or if the server cannot be reached or does not answer in this protocol.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        websockets = _library("websockets.sync.client")
        lost: type[Exception] = _library("websockets.exceptions").WebSocketException
        self._errors: tuple[type[Exception], ...] = (lost, OSError, TimeoutError)
        self._open = ExitStack()
        try:
            self._connection = self._open.enter_context(
                websockets.connect(address, compression=None, max_size=MAX_MESSAGE, open_timeout=OPEN_TIMEOUT)
            )
            self.metadata = self._receive()
        except (*self._errors, ValueError) as error:
            what = f"the policy server cannot be reached: {error or type(error).__name__}"
            raise UserError(what, where=address, hint="Start it, and check the address.") from error
        executed = self.metadata.get("executed", 1)
        if not isinstance(executed, int) or executed < 1:
            raise self._fault(f"its metadata has executed={executed!r}")
        self.control = Control("command", executed=executed)

    def reset(self) -> None:
        """Start an episode. The protocol has no message for it: the first frame of an observation shows it."""

    def act(self, observation: Observation) -> np.ndarray:
        """Return the server's `actions` (H, A). Raise UserError if it fails or answers something else."""
        request = {
            "observation/image": observation.frame_HWC,
            "observation/first_image": observation.first_HWC,
            "observation/state": observation.state_S,
            "prompt": observation.prompt,
        }
        try:
            self._connection.send(_library("worldtune.policy.remote.msgpack_numpy").pack(request))
            answer = self._receive()
        except self._errors as error:
            what = f"the connection to the policy server was lost: {error or type(error).__name__}"
            raise UserError(what, where=self.address, hint="Look at the server's log.") from error
        actions_HA = answer.get("actions")
        if not isinstance(actions_HA, np.ndarray) or actions_HA.dtype.kind != "f":
            raise self._fault("it does not contain actions as an array of floating-point numbers")
        return actions_HA

    def close(self) -> None:
        """Close the connection."""
        self._open.close()

    def _receive(self) -> dict[Any, Any]:
        message = self._connection.recv(timeout=ANSWER_TIMEOUT)
        if isinstance(message, str):
            last = message.strip().splitlines()[-1] if message.strip() else "no text"
            raise self._fault(f"it is an error: {last}")
        try:
            answer = _library("worldtune.policy.remote.msgpack_numpy").unpack(message)
        except ValueError as error:
            raise self._fault(str(error)) from error
        if not isinstance(answer, dict):
            raise self._fault(f"it is {type(answer).__name__}, not a map")
        return answer

    def _fault(self, what: str) -> UserError:
        hint = "Serve the policy with openpi's WebsocketPolicyServer, or in its form."
        return UserError(f"the policy server's answer cannot be used: {what}", where=self.address, hint=hint)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        what = f"a policy server needs the library {error.name}"
        raise UserError(what, where="policy", hint="Run: pip install 'worldtune[policy]'.") from error
