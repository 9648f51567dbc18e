"""core.files.scratch_folder: it removes the folders of killed processes, and nothing else."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import worldtune
from worldtune.core.files import LOCK_FILE, _machine_id, scratch_folder

PACKAGE = Path(worldtune.__file__).parent
HOLD = """
import sys
from worldtune.core.files import scratch_folder
with scratch_folder() as folder:
    (folder / "copy").mkdir()
    (folder / "copy" / "weights").write_bytes(b"much")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@contextmanager
def holding() -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Start a real process that holds a scratch folder, and yield it with the folder."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip()).parent
        finally:
            process.kill()


def test_scratch_folder_is_empty_private_and_removed(tmp_path: Path) -> None:
    with scratch_folder() as folder:
        assert list(folder.iterdir()) == []
        assert folder.parent.parent == tmp_path
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert f"-{_machine_id()}-{os.getpid()}-" in folder.parent.name
        (folder / "a").write_text("a")
    with pytest.raises(ZeroDivisionError), scratch_folder():
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    with holding() as (process, place):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (place / "files" / "copy" / "weights").exists()
        with scratch_folder() as folder:
            assert list(tmp_path.iterdir()) == [folder.parent]


def test_folder_of_a_running_process_stays(tmp_path: Path) -> None:
    with holding() as (process, place), scratch_folder() as folder, scratch_folder() as second:
        assert set(tmp_path.iterdir()) == {place, folder.parent, second.parent}
        process.communicate()
        assert process.returncode == 0
        assert set(tmp_path.iterdir()) == {folder.parent, second.parent}


def test_leftover_with_a_reused_pid_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f"worldtune-scratch-{_machine_id()}-{os.getpid()}-abc"
    (left / "files").mkdir(parents=True)
    (left / LOCK_FILE).touch()
    with scratch_folder():
        assert not left.exists()


def test_folder_without_a_lock_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f"worldtune-scratch-{_machine_id()}-1-abc"
    left.mkdir()
    with scratch_folder():
        assert not left.exists()


def test_links_and_other_names_are_not_touched(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "files").mkdir(parents=True)
    (mine / "files" / "a").write_text("a")
    names = f"worldtune-scratch-{_machine_id()}-1"
    (tmp_path / f"{names}-link").symlink_to(mine)
    (tmp_path / f"{names}-file").write_text("a file")
    inside = tmp_path / f"{names}-inside"
    inside.mkdir()
    (inside / "link").symlink_to(mine)
    locked_by_link = tmp_path / f"{names}-lock"
    locked_by_link.mkdir()
    (locked_by_link / LOCK_FILE).symlink_to(mine / "new")
    elsewhere = tmp_path / "worldtune-scratch-00000000-1-abc"
    elsewhere.mkdir()
    with scratch_folder():
        assert (mine / "files" / "a").read_text() == "a"
        assert not (mine / LOCK_FILE).exists()
        assert not (mine / "new").exists()
        assert not inside.exists()
        assert elsewhere.exists()
        assert (tmp_path / f"{names}-file").exists()
        assert (tmp_path / f"{names}-link").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can create a folder of another user")
def test_folder_of_another_user_stays(tmp_path: Path) -> None:
    left = tmp_path / f"worldtune-scratch-{_machine_id()}-1-abc"
    left.mkdir()
    os.chown(left, 65534, 65534)
    with scratch_folder():
        assert left.exists()


def test_concurrent_folders_do_not_remove_each_other(tmp_path: Path) -> None:
    def use(number: int) -> str:
        with scratch_folder() as folder:
            (folder / "number").write_text(str(number))
            return (folder / "number").read_text()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(100))) == [str(number) for number in range(100)]
    assert list(tmp_path.iterdir()) == []


def test_only_files_py_uses_tempfile() -> None:
    """A folder made by `tempfile` stays forever if its process is killed. Benchmarks may use it."""
    apart = ("bench",)
    made = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in apart and path.name != "files.py"
        if "tempfile" in path.read_text()
    ]
    assert made == []
