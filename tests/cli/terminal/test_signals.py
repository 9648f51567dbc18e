"""SIGTERM and SIGHUP end a verb like Ctrl-C: one line, nothing half-written, exit code 128 plus the signal."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.films import write_square_dataset
from support.processes import HEARING_CTRL_C, PATIENCE, start, wait_until
from support.training import write_recipe
from support.warm import WarmProcess
from worldtune.cli.main import INTERRUPTION
from worldtune.training.run_folder import RunFolder

from ..in_process import Verb, in_process
from ..test_main import made_up_verb

__all__ = ["in_process"]

HOLDING = """
    from worldtune.core.files import scratch_folder
    with scratch_folder() as folder:
        try:
            print(folder, flush=True)
            time.sleep(600)
        finally:
            CLEANUP
"""


def holding(cleanup: str = "pass", **options: object) -> "subprocess.Popen[str]":
    """Start a real process whose verb holds a scratch folder and waits."""
    command = made_up_verb(HOLDING.strip().replace("CLEANUP", cleanup))
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **(streams | options))  # type: ignore[call-overload, no-any-return]


def folder_of(process: "subprocess.Popen[str]") -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip()).parent


def check_end(process: "subprocess.Popen[str] | WarmProcess", number: int) -> None:
    """Check what every verb must do after a signal."""
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, err
    assert err.splitlines()[-1] == INTERRUPTION
    assert "Traceback" not in err
    assert "KeyboardInterrupt" not in err


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The latent store and temporary files are under the test's folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def receives_sighup() -> Iterator[None]:
    """Let processes that are started here receive SIGHUP, even if the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_prints_one_line_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with holding() as process:
        assert folder_of(process).is_dir()
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == 128 + number
    assert err == f"{INTERRUPTION}\n"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_second_sigterm_ends_at_once() -> None:
    with holding("print('cleaning', flush=True); time.sleep(600)") as process:
        folder_of(process)
        process.terminate()
        assert process.stdout is not None
        assert process.stdout.readline() == "cleaning\n"
        process.terminate()
        _, err = process.communicate()
    assert process.returncode == -signal.SIGTERM
    assert err == ""


def test_error_caused_by_the_signal_is_not_printed() -> None:
    with holding("raise OSError(5, 'gone')") as process:
        folder_of(process)
        process.terminate()
        check_end(process, signal.SIGTERM)


def test_sighup_is_ignored_under_nohup(tmp_path: Path) -> None:
    with holding(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        place = folder_of(process)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGCONT)
        assert place.is_dir()
        process.terminate()
        check_end(process, signal.SIGTERM)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_closed_terminal_ends_the_verb_without_an_error(tmp_path: Path) -> None:
    """The terminal's process group gets SIGHUP, and nothing can be printed anymore."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = made_up_verb(HOLDING.strip().replace("CLEANUP", "print('x', flush=True)"))
        os.execv(command[0], command)
    with os.fdopen(terminal, "rb") as reader:
        folder = Path(reader.readline().decode().strip())
        assert folder.is_dir()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert list((tmp_path / "tmp").iterdir()) == []


def test_train_resumes_after_sigterm_and_sighup(in_process: Verb, tiny_world: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    recipe = write_recipe(tmp_path, tiny_world)
    arguments = ("train", recipe, "train.steps=40", "train.checkpoint_every=5", "--out", run.path, "--resume", "auto")
    seen = 0
    for count, number in enumerate((signal.SIGTERM, signal.SIGHUP), start=1):
        process = start(*arguments)
        wait_until(lambda: any(row["step"] >= seen + 6 for row in run.rows()), process)  # noqa: B023
        process.send_signal(number)
        check_end(process, number)
        seen = max(row["step"] for row in run.rows())
        assert len(list(run.checkpoints.iterdir())) >= 1
        assert not list(run.path.rglob("*.partial"))
        assert not run.adapter.exists()
        assert run.seconds() is not None, f"session {count} records its duration"
    assert in_process(*arguments).code == 0
    assert [row["step"] for row in run.rows() if "loss" in row] == list(range(1, 41))


def test_interrupted_submission_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sky").write_text(f"#!/bin/sh\ntouch {tmp_path}/called\nexec sleep 600\n")
    (tmp_path / "bin" / "sky").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    options = ("--launch", "skypilot", "--gpus", "1", "--accelerator", "H100", "--out", "run")
    process = start("train", "pocket-new-view", *options)
    wait_until((tmp_path / "called").exists, process)
    assert [path.name for path in (tmp_path / "tmp").rglob("*.yaml")] == ["job.yaml"]
    process.terminate()
    check_end(process, signal.SIGTERM)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that takes some seconds to encode. Do not write into it."""
    return write_square_dataset(tmp_path_factory.mktemp("many") / "films", 200)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "whole_group"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_encode_ends_its_workers(
    number: signal.Signals, whole_group: bool, tiny_world: Path, many_videos: Path, tmp_path: Path, home: Path
) -> None:
    recipe = write_recipe(tmp_path, tiny_world)
    options = (f"data.path={many_videos}", "data.held_out=0", "data.curate.duplicates=false", "--workers", "2")
    process = start("encode", recipe, *options, new_session=True)
    wait_until(lambda: any(home.rglob("*.safetensors")), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number) if whole_group else process.send_signal(number)
    check_end(process, number)
    assert not psutil.wait_procs(workers, timeout=PATIENCE)[1]
    assert not list(home.rglob("*.partial"))


def test_ctrl_c_still_works() -> None:
    with subprocess.Popen(
        made_up_verb(f"{HEARING_CTRL_C}; print('working', flush=True); time.sleep(600)"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        check_end(process, signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_lost_in_a_destructor_still_ends_the_verb(number: signal.Signals) -> None:
    body = f"""
    import os
    from worldtune.cli.terminal.progress import progress

    class Loses:
        def __del__(self):
            os.kill(os.getpid(), {int(number)})

    with progress("work") as advance:
        advance(1, 3)
        loses = Loses()
        del loses
        advance(2, 3)
    print("worked on")
    """
    command = made_up_verb(body.strip())
    command[2] = f"{HEARING_CTRL_C}\n{command[2]}"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr.splitlines()[-1] == INTERRUPTION


def test_forked_process_ends_silently_when_terminated() -> None:
    code = (
        "import multiprocessing, time\n"
        "from worldtune.cli.terminal.signals import ending_as_ctrl_c_does\n"
        "with ending_as_ctrl_c_does():\n"
        "    one = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
        "    one.start(); time.sleep(0.5); one.terminate(); one.join(); print(one.exitcode)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (str(-signal.SIGTERM), "")
