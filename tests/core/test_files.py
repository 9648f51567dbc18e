import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.core.files import (
    CHUNK_BYTES,
    _machine_id,
    atomic_file,
    atomic_folder,
    digest_bytes,
    digest_file,
    digest_json,
    is_leftover,
    lock_folder,
    make_folder,
    write_json,
)
from worldtune.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def half_a_file(path: Path) -> None:
    with atomic_file(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError


def half_a_folder(path: Path) -> None:
    with atomic_folder(path) as partial:
        (partial / "new").write_text("new")
        raise ZeroDivisionError


def test_digest_is_sha256() -> None:
    assert digest_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7])
def test_file_digest_equals_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    path = tmp_path / "data"
    path.write_bytes(data)
    assert digest_file(path) == hashlib.sha256(data).hexdigest()


@given(st.dictionaries(st.text(), JSON, max_size=6), st.randoms(use_true_random=False))
def test_json_digest_ignores_key_order(value: dict[str, Any], random: Any) -> None:
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert digest_json(dict(shuffled)) == digest_json(value)


@given(JSON, JSON)
def test_different_json_values_have_different_digests(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_json(one) == digest_json(other)) == same


@given(value=JSON)
def test_written_json_reads_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text()) == value
    assert [file.name for file in path.parent.iterdir()] == ["value.json"]


def test_file_appears_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    with atomic_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_keeps_the_old_file_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        half_a_file(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for name in ("first", "second"):
        with atomic_folder(folder) as partial:
            (partial / name).write_text(name)
    assert [file.name for file in folder.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [folder]


def test_failed_folder_keeps_the_old_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(ZeroDivisionError):
        half_a_folder(folder)
    assert [file.name for file in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_lost_new_folder_keeps_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_folder(folder) as partial:
        partial.rmdir()
    assert [file.name for file in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


BETWEEN_TWO_RENAMES = """
import os, signal, sys
from pathlib import Path
from worldtune.core.files import atomic_folder
renames = []
def stop(event, arguments):
    renames.extend([event] if event == "os.rename" else [])
    if len(renames) == 2 and event == "os.rename":
        os.kill(os.getpid(), int(sys.argv[2]))
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.addaudithook(stop)
with atomic_folder(Path(sys.argv[1])) as partial:
    (partial / "new").write_text("new")
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stop_between_two_renames_restores_the_old_folder(tmp_path: Path, stop: signal.Signals) -> None:
    """Ctrl-C restores it at once; after kill -9 the next write restores it, even if that write fails."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "old").write_text("old")
    command = [sys.executable, "-c", BETWEEN_TWO_RENAMES, folder, str(int(stop))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -stop, done.stderr
    if stop == signal.SIGKILL:
        assert not folder.exists()
        with pytest.raises(ZeroDivisionError):
            half_a_folder(folder)
    assert [file.name for file in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    gone, alive, folder = process.pid, os.getppid(), tmp_path / "run[1]"
    (tmp_path / f".run[1].{_machine_id()}-{gone}.partial").mkdir()
    (tmp_path / f".run[1].{_machine_id()}-{alive}.partial").mkdir()
    (tmp_path / f".run[1].{_machine_id()}-{gone}.old").mkdir()
    (tmp_path / ".run[1].mine").write_text("mine")
    with pytest.raises(ZeroDivisionError):
        half_a_folder(folder)
    assert folder.is_dir(), "it had been set aside"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"run[1]", f".run[1].{_machine_id()}-{alive}.partial", ".run[1].mine"}


def test_current_folder_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with atomic_folder(Path()) as partial:
        (partial / "new").write_text("new")
    assert (tmp_path / "here" / "new").read_text() == "new"


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from worldtune.errors import UserError
from worldtune.core.files import write_json
if os.getuid() == 0:  # root may write everywhere: become another user
    os.setuid(65534)
try:
    write_json(Path(sys.argv[1]) / "results.json", {})
except UserError as error:
    print(error)
"""


def test_folder_without_write_permission_is_a_user_error() -> None:
    with tempfile.TemporaryDirectory() as folder:  # other users cannot open pytest's folders
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"the folder cannot be written [{folder}]"), done.stderr
        assert list(Path(folder).iterdir()) == []
        Path(folder).chmod(0o755)


KILLED = """
import sys, time
from pathlib import Path
from worldtune.core.files import atomic_file, atomic_folder
path = Path(sys.argv[2])
with {"file": atomic_file, "folder": atomic_folder}[sys.argv[1]](path) as partial:
    (partial if sys.argv[1] == "file" else partial / "inside").write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_killed_write_keeps_the_old_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "result"
    inside = path if kind == "file" else path / "inside"
    inside.parent.mkdir(exist_ok=True)
    inside.write_text("old")
    with subprocess.Popen([sys.executable, "-c", KILLED, kind, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert inside.read_text() == "old"


def test_file_in_place_of_a_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError) as caught:
        make_folder(tmp_path / "out" / "videos")
    assert caught.value.where == str(tmp_path / "out" / "videos")
    assert "folder you can write to" in caught.value.hint


def test_write_below_a_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError):
        write_json(tmp_path / "out" / "results.json", {})
    assert (tmp_path / "out").read_text() == "a file"


def test_folder_lock_excludes_a_second_process(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path / "run"),
        pytest.raises(UserError, match="another process is using"),
        lock_folder(tmp_path / "run"),
    ):
        raise AssertionError("both are in")
    with lock_folder(tmp_path / "run"):
        pass


def test_leftovers_of_another_machine_stay(tmp_path: Path) -> None:
    """Process ids are not unique across machines and containers that share a folder."""
    theirs = tmp_path / f".x.0123abcd-{2**22 + 1}.partial"
    ours = tmp_path / f".x.{_machine_id()}-{2**22 + 1}.partial"  # above Linux's highest process number: not alive
    for left in (theirs, ours):
        left.write_text("half")
    with atomic_file(tmp_path / "x") as partial:
        partial.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"x", theirs.name}
    assert is_leftover(theirs.name)
    assert not is_leftover(".x.partial")


def test_threads_can_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    with ThreadPoolExecutor(4) as pool:
        for written in [pool.submit(write_json, path, {"number": number}) for number in range(400)]:
            written.result()
    assert [file.name for file in tmp_path.iterdir()] == ["one.json"]
    assert "number" in json.loads(path.read_text())


def test_lock_that_is_a_link_is_an_error_and_its_target_stays(tmp_path: Path) -> None:
    """A run folder may belong to another user."""
    (tmp_path / "notes").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "notes")
    with pytest.raises(UserError, match="the lock file cannot be opened"), lock_folder(tmp_path / "run"):
        pass
    assert (tmp_path / "notes").read_text() == "kept"


def test_lock_that_is_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with lock_folder(tmp_path), pytest.raises(UserError, match="another process"), lock_folder(tmp_path):
        pass


def test_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "adapter").symlink_to("elsewhere")
    with atomic_folder(tmp_path / "adapter") as partial:
        (partial / "new").touch()
    assert [path.name for path in (tmp_path / "adapter").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "elsewhere"]
    assert (tmp_path / "elsewhere" / "kept").exists()
