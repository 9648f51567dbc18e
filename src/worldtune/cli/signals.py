"""SIGTERM and SIGHUP end a verb as Ctrl-C does: it leaves no temporary files, and a run can be resumed.

SIGTERM is what `kill`, SLURM, Kubernetes and torchrun send; SIGHUP says that the terminal was closed.
"""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CTRL_C = 128 + signal.SIGINT
HEARD = (signal.SIGTERM, signal.SIGHUP)

_received: list[int] = []
_owner: list[int] = []


class Stopped(KeyboardInterrupt):
    """What a signal raises in the main thread: all that cleans up after Ctrl-C does so after this too."""


@contextmanager
def ending_as_ctrl_c_does() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise `Stopped`; a second SIGTERM ends the process at once.

    A signal that is ignored from the start stays ignored, as SIGHUP under nohup.
    """
    _owner.append(os.getpid())
    before = {number: signal.getsignal(number) for number in HEARD}
    taken = [number for number in HEARD if before[number] == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def exit_code() -> int:
    """Return the exit code of an interrupted verb: 128 and the signal's number."""
    return 128 + _received[0] if _received else CTRL_C


def is_stopped() -> bool:
    """Return whether a signal has asked this process to end."""
    return bool(_received)


def _stop(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _owner[-1]:  # a process that was forked from the verb's has nothing to say, and ends as any other
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _received.append(number)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that is closed sends several
    for stream in (1, 2):
        if _is_closed_terminal(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    raise Stopped


def _is_closed_terminal(stream: int) -> bool:
    """Return whether writing there would fail: a terminal that hung up is still a device, but no terminal."""
    try:
        return stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream)
    except OSError:  # the stream is closed
        return False
