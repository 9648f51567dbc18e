"""Run the command line in a separate process that a test can interrupt."""

import time
from collections.abc import Callable
from pathlib import Path

from support.warm import WarmProcess, start_warm

PATIENCE = 600.0  # seconds, on a busy machine
HEARING_CTRL_C = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job ignores SIGINT
)


def start(*arguments: str | Path, new_session: bool = False) -> WarmProcess:
    """Start `worldtune ARGUMENTS`; in a `new_session` its processes can be signaled together."""
    code = f"{HEARING_CTRL_C}; from worldtune.cli.main import main; main()"
    return start_warm(code, *arguments, new_session=new_session)


def wait_until(done: Callable[[], bool], process: WarmProcess) -> None:
    """Wait until `done()` is true. Raise AssertionError if the process ends before."""
    end = time.monotonic() + PATIENCE
    while not done():
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} too soon: {process.communicate()}")
        if time.monotonic() > end:
            process.kill()
            raise AssertionError(f"not done after {PATIENCE:g} s: {process.communicate()}")
        time.sleep(0.01)
