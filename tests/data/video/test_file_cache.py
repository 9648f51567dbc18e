import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from worldtune.core.files import digest_bytes
from worldtune.data.video.decode import write_video
from worldtune.data.video.file_cache import cached, cached_file_digest
from worldtune.data.video.video_index import measure_video
from worldtune.errors import DataError, UserError

from ..scenes import aged
from ..videos import film

FINDS_OUT = """
import sys
from pathlib import Path
from worldtune.data.video.file_cache import cached

path, log = map(Path, sys.argv[1:])

def find_out():
    with log.open("a") as file:
        file.write("once\\n")
    return {"size": str(path.stat().st_size).encode(), "first": path.read_bytes()[:1]}

print(cached(path, "size", find_out).decode(), cached(path, "first", find_out).decode())
"""
MANY = """
import sys
from pathlib import Path
from worldtune.data.video.file_cache import cached

path, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
input()
for number in range(30):
    what = f"{name} {number}"
    assert cached(path, what, lambda: {what: what.encode()}) == what.encode()
    assert cached(path, what, lambda: {}) == what.encode()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache's file; each test has its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/worldtune/file_cache.sqlite"


def counting(answer: bytes = b"found") -> tuple[Callable[[], dict[str, bytes]], list[int]]:
    calls: list[int] = []

    def find_out() -> dict[str, bytes]:
        calls.append(len(calls))
        return {"what": answer, "besides": answer + b" besides"}

    return find_out, calls


def old_file(path: Path, content: bytes = b"abc") -> Path:
    path.write_bytes(content)
    return aged(path)


def test_cache_is_shared_by_processes(tmp_path: Path) -> None:
    path, log = old_file(tmp_path / "a"), tmp_path / "log"
    for _ in range(2):
        reported = subprocess.run(
            [sys.executable, "-c", FINDS_OUT, path, log], capture_output=True, text=True, check=True
        ).stdout
        assert reported == "3 a\n"
    assert log.read_text() == "once\n"


def test_other_computed_entries_are_cached(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")
    find_out, calls = counting()
    assert cached(path, "what", find_out) == b"found"
    assert cached(path, "besides", find_out) == b"found besides"
    assert calls == [0]


@pytest.mark.parametrize("change", ["content", "content alone", "size", "time", "another file"])
def test_changed_file_is_computed_again(tmp_path: Path, change: str) -> None:
    path = old_file(tmp_path / "a")
    old = path.stat().st_mtime_ns
    cached(path, "what", counting()[0])
    match change:
        case "content":
            path.write_bytes(b"xyz")
            os.utime(path, ns=(old, old + 1_000_000))
        case "content alone":
            path.write_bytes(b"xyz")
            os.utime(path, ns=(old, old))
        case "size":
            path.write_bytes(b"longer")
            os.utime(path, ns=(old, old))
        case "time":
            os.utime(path, ns=(old, old + 1))
        case "another file":
            old_file(tmp_path / "b", b"xyz")
            os.utime(tmp_path / "b", ns=(old, old))
            (tmp_path / "b").replace(path)
    find_out, calls = counting(b"anew")
    assert cached(path, "what", find_out) == b"anew"
    assert cached(path, "what", find_out) == b"anew"
    assert calls == [0]


def test_video_changed_in_place_is_measured_again(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(5), 16)
    assert measure_video(aged(tmp_path / "a.mp4")).frames == 5
    write_video(tmp_path / "a.mp4", film(7), 16)
    assert measure_video(aged(tmp_path / "a.mp4")).frames == 7


def test_recently_changed_file_is_not_cached(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    find_out, calls = counting()
    for _ in range(3):
        cached(path, "what", find_out)
    assert calls == [0, 1, 2]
    cached(aged(path), "what", find_out)
    cached(path, "what", find_out)
    assert calls == [0, 1, 2, 3]


def test_file_with_a_future_time_is_not_cached(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    later = path.stat().st_mtime_ns + 3_600_000_000_000
    os.utime(path, ns=(later, later))
    find_out, calls = counting()
    cached(path, "what", find_out)
    cached(path, "what", find_out)
    assert calls == [0, 1]


def test_file_change_during_reading_is_an_error(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")

    def find_out() -> dict[str, bytes]:
        path.write_bytes(b"another")
        return {"what": b"half of the one and half of the other"}

    with pytest.raises(DataError, match=r"the file changed while it was read .*/a\]"):
        cached(path, "what", find_out)
    assert cached(aged(path), "what", counting()[0]) == b"found"


def test_file_removed_during_reading_is_an_error(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")

    def find_out() -> dict[str, bytes]:
        path.unlink()
        return {"what": b"gone"}

    with pytest.raises(DataError, match="the video file is missing"):
        cached(path, "what", find_out)


def test_failed_measurement_is_not_cached(tmp_path: Path) -> None:
    path = aged(old_file(tmp_path / "a.mp4", b"no film"))
    for _ in range(2):
        with pytest.raises(DataError, match="the video is not an MP4"):
            measure_video(path)


def test_cache_works_with_two_processes(tmp_path: Path, cache: Path) -> None:
    """No cache exists before, and the processes run at the same time."""
    path = old_file(tmp_path / "a")
    processes = [
        subprocess.Popen([sys.executable, "-c", MANY, path, name], stdin=-1, stdout=-1, stderr=-1, text=True)
        for name in ("one", "two")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate()[1] == ""
    with sqlite3.connect(cache) as memory:
        assert memory.execute("SELECT count(*) FROM cache").fetchone() == (60,)


def test_cache_works_with_threads(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")
    found: list[bytes] = []

    def ask(name: str) -> None:
        found.extend(cached(path, f"{name} {k}", lambda k=k: {f"{name} {k}": name.encode()}) for k in range(20))

    threads = [Thread(target=ask, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [b"a"] * 20 + [b"b"] * 20 + [b"c"] * 20


def test_cached_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")
    assert cached_file_digest(path) == cached_file_digest(path) == digest_bytes(b"abc")
    with pytest.raises(DataError, match="missing"):
        cached_file_digest(tmp_path / "gone")


@pytest.mark.parametrize("harm", ["no database", "a folder in its place", "another table", "cut short", "no folder"])
def test_unusable_cache_is_a_one_line_error(tmp_path: Path, cache: Path, harm: str) -> None:
    path = old_file(tmp_path / "a")
    cache.parent.mkdir(parents=True)
    match harm:
        case "no database":
            cache.write_bytes(b"no database " * 100)
        case "a folder in its place":
            cache.mkdir()
        case "another table":
            with sqlite3.connect(cache) as memory:
                memory.execute("CREATE TABLE cache (name TEXT)")
        case "cut short":
            with sqlite3.connect(cache) as memory:
                memory.execute("CREATE TABLE cache (name TEXT)")
            cache.write_bytes(cache.read_bytes()[:5000])
        case "no folder":
            cache.parent.rmdir()
            cache.parent.write_bytes(b"")
    with pytest.raises(UserError) as reported:
        cached(path, "what", counting()[0])
    assert reported.value.where == str(cache.parent if harm == "no folder" else cache)
    assert "\n" not in str(reported.value)


def test_deleted_cache_is_recreated(tmp_path: Path, cache: Path) -> None:
    path, log = old_file(tmp_path / "a"), tmp_path / "log"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", FINDS_OUT, path, log], stdout=-1, check=True)
        cache.unlink()
    assert log.read_text() == "once\nonce\n"
