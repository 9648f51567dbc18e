"""The command line in a process of its own, to be stopped in the middle."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 600.0  # seconds, on a busy machine
HEARING_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job does not


def start(*arguments: str | Path, new_session: bool = False) -> subprocess.Popen[str]:
    """`worldtune ARGUMENTS`, running; in a `new_session` its processes can be signalled together."""
    code = f"{HEARING_CTRL_C}; from worldtune.cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=new_session
    )


def wait_until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that the process does, and fail when it ends without."""
    end = time.monotonic() + PATIENCE
    while not done():
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} too soon: {process.communicate()}")
        if time.monotonic() > end:
            process.kill()
            raise AssertionError(f"did not come to it in {PATIENCE:g} s: {process.communicate()}")
        time.sleep(0.01)
