"""Servers on loopback for the registry's tests: moto (object store) and MLflow, in a separate Python (.ci/servers)."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON = "WORLDTUNE_SERVERS"
START_S = 120


def python() -> str | None:
    """Return the Python that has the servers, or None."""
    return os.environ.get(PYTHON)


@contextmanager
def serving(folder: Path, module: str, *arguments: str, health: str = "/") -> Iterator[str]:
    """Run `python -m MODULE ARGUMENTS --port PORT` with a log in `folder`, and yield its address."""
    found = python()
    assert found is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / f"{module}.log").open("wb")
    command = [found, "-m", module, *arguments, "--port", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}{health}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing answers at {url}")
