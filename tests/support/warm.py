"""Real processes that start fast: forks of one process that has imported PyTorch and other large libraries.

Each fork has its own process id, environment, folder and outputs, and ends like any process. Its modules are already
imported, so a test of imports, or of variables that are read at import, needs a new interpreter.
"""

import atexit
import faulthandler
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

PATIENCE = 600.0  # seconds, on a busy machine
LEFT_OUT = ("worldtune.sim",)


class WarmProcess:
    """A running fork, with the interface of subprocess.Popen and outputs as text."""

    def __init__(self, pid: int, ended: int, outputs: tuple[IO[str], IO[str]]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended, self._outputs = ended, outputs

    def poll(self) -> int | None:
        return self._wait(0)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the exit code. Raise AssertionError with outputs and stacks after `timeout` seconds."""
        code = self._wait(timeout)
        if code is None:
            self.send_signal(signal.SIGABRT)  # Python prints the stacks
            self._wait(10)
            self.kill()
            self._wait(None)
            raise AssertionError(f"still running after {timeout:g} s: {self._read()}")
        return code

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for the end, and return stdout and stderr. Raise AssertionError as `wait` does."""
        self.wait(timeout)
        return self._read()

    def _read(self) -> tuple[str, str]:
        for file in self._outputs:
            file.seek(0)
        out, err = (file.read() for file in self._outputs)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            status = os.read(self._ended, 16)
            os.close(self._ended)
            assert status, "the forking process has ended"
            self.returncode = os.waitstatus_to_exitcode(int(status))
        return self.returncode


def start_warm(
    code: str,
    *arguments: str | Path,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    new_session: bool = False,
) -> WarmProcess:
    """Start `python -c CODE ARGUMENTS`."""
    outputs = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
    ended, ending = os.pipe()
    task = {
        "code": code, "argv": ["-c", *map(str, arguments)], "cwd": str(cwd or Path.cwd()),
        "env": dict(os.environ if env is None else env), "new_session": new_session,
    }  # fmt: skip
    with tempfile.TemporaryFile("w+") as file:
        json.dump(task, file)
        file.flush()
        socket.send_fds(_forker(), [b"."], [file.fileno(), *(output.fileno() for output in outputs), ending])
    os.close(ending)
    return WarmProcess(int(_forker().recv(16)), ended, outputs)


def run_warm(code: str, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -c CODE ARGUMENTS` to its end."""
    process = start_warm(code, *arguments, cwd=cwd)
    out, err = process.communicate()
    return subprocess.CompletedProcess(["-c", *arguments], process.wait(), out, err)


@cache
def _forker() -> socket.socket:
    """Start the forking process, and return the socket to it. It ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", "from support.warm import serve; serve()", str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
    theirs.close()
    atexit.register(lambda: (ours.close(), process.wait()))
    return ours


def serve() -> None:
    """Import everything, fork for each message, and report the exit status of each fork."""
    import worldtune

    for module in pkgutil.walk_packages(worldtune.__path__, "worldtune."):
        if not module.name.startswith(LEFT_OUT):
            import_module(module.name)
    line = socket.socket(fileno=int(sys.argv[1]))
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(woken)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([line, waking], [], [])
        if waking in ready:
            os.read(waking, 4096)
            _report_ends(running)
        if line in ready:
            message, files, _, _ = socket.recv_fds(line, 16, 4)
            if not message:
                return
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGHUP):  # the tests may run under nohup
                    signal.signal(number, signal.SIG_DFL)
                for descriptor in (waking, woken, files[3], *running.values()):
                    os.close(descriptor)
                line.close()
                _become(files)
            running[pid] = files[3]
            for descriptor in files[:3]:
                os.close(descriptor)
            line.send(str(pid).encode())


def _report_ends(running: dict[int, int]) -> None:
    for pid, ending in list(running.items()):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            os.write(ending, str(status).encode())
            os.close(running.pop(pid))


def _become(files: Sequence[int]) -> None:
    """Run the task in this fork, and exit."""
    with open(files[0]) as file:
        file.seek(0)
        task: dict[str, Any] = json.load(file)
    for number, descriptor in enumerate(files[1:3], start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if task["new_session"]:
        os.setsid()
    os.chdir(task["cwd"])
    os.environ.clear()
    os.environ.update(task["env"])
    faulthandler.enable()
    tempfile.tempdir = None  # TMPDIR may differ
    sys.argv = task["argv"]
    sys.path.insert(0, "")
    code = 0
    try:
        exec(compile(task["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and end.code is not code:
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
