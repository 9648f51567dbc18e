"""End a verb on Ctrl-C, SIGTERM or SIGHUP: it leaves no temporary files, and a run can be resumed.

`kill`, SLURM, Kubernetes and torchrun send SIGTERM; a closed terminal sends SIGHUP.
"""

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CTRL_C = 128 + signal.SIGINT
DEFAULT: dict[int, Callable[[int, FrameType | None], object] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}

_received: list[int] = []
_owner: list[int] = []


class Stopped(KeyboardInterrupt):
    """The exception of a signal in the main thread; code that cleans up after Ctrl-C also cleans up after this."""


@contextmanager
def ending_as_ctrl_c_does() -> Iterator[None]:
    """Make the signals raise `Stopped` within the block; a second SIGTERM ends the process at once.

    A signal that is already ignored stays ignored, such as SIGHUP under nohup.
    """
    _owner.append(os.getpid())
    before = {number: signal.getsignal(number) for number in DEFAULT}
    handled = [number for number in DEFAULT if before[number] == DEFAULT[number]]
    for number in handled:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def exit_code() -> int:
    """Return the exit code of an interrupted verb: 128 plus the signal's number."""
    return 128 + _received[0] if _received else CTRL_C


def is_stopped() -> bool:
    """Return whether this process received a signal to end."""
    return bool(_received)


def raise_if_stopped() -> None:
    """Raise Stopped if this process received a signal to end; long loops call this at each step.

    The signal handler's exception is lost if the signal arrives in a destructor or in a callback of the interpreter,
    such as those of imports (CPython: `PyErr_WriteUnraisable`).
    """
    if _received and threading.current_thread() is threading.main_thread():
        raise Stopped


def _stop(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _owner[-1]:  # a fork of the verb's process ends silently, by the default action
        signal.signal(number, DEFAULT[number])
        os.kill(os.getpid(), number)
    _received.append(number)
    if number == signal.SIGINT:  # a second Ctrl-C raises again
        raise Stopped
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closing terminal sends several
    for stream in (1, 2):
        if _is_closed_terminal(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    raise Stopped


def _is_closed_terminal(stream: int) -> bool:
    """Return whether `stream` is a closed terminal: still a character device, but no longer a terminal."""
    try:
        return stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream)
    except OSError:  # the stream is closed
        return False
