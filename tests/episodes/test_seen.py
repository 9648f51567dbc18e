import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from worldtune.episodes.scan import measure
from worldtune.episodes.seen import remembered, seen_digest
from worldtune.episodes.video import write_video
from worldtune.errors import DataError, UserError
from worldtune.files import digest_bytes

from .films import film
from .scenes import aged

FINDS_OUT = """
import sys
from pathlib import Path
from worldtune.episodes.seen import remembered

path, log = map(Path, sys.argv[1:])

def find_out():
    with log.open("a") as file:
        file.write("once\\n")
    return {"size": str(path.stat().st_size).encode(), "first": path.read_bytes()[:1]}

print(remembered(path, "size", find_out).decode(), remembered(path, "first", find_out).decode())
"""
MANY = """
import sys
from pathlib import Path
from worldtune.episodes.seen import remembered

path, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
input()
for number in range(30):
    what = f"{name} {number}"
    assert remembered(path, what, lambda: {what: what.encode()}) == what.encode()
    assert remembered(path, what, lambda: {}) == what.encode()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's file; each test has one of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/worldtune/seen.sqlite"


def counting(answer: bytes = b"found") -> tuple[Callable[[], dict[str, bytes]], list[int]]:
    asked: list[int] = []

    def find_out() -> dict[str, bytes]:
        asked.append(len(asked))
        return {"what": answer, "besides": answer + b" besides"}

    return find_out, asked


def old_file(path: Path, content: bytes = b"abc") -> Path:
    path.write_bytes(content)
    return aged(path)


def test_another_process_does_not_find_it_out_again(tmp_path: Path) -> None:
    path, log = old_file(tmp_path / "a"), tmp_path / "log"
    for _ in range(2):
        told = subprocess.run(
            [sys.executable, "-c", FINDS_OUT, path, log], capture_output=True, text=True, check=True
        ).stdout
        assert told == "3 a\n"
    assert log.read_text() == "once\n"


def test_what_is_found_besides_is_remembered_too(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")
    find_out, asked = counting()
    assert remembered(path, "what", find_out) == b"found"
    assert remembered(path, "besides", find_out) == b"found besides"
    assert asked == [0]


@pytest.mark.parametrize("change", ["content", "content alone", "size", "time", "another file"])
def test_a_file_that_changes_is_looked_at_again(tmp_path: Path, change: str) -> None:
    path = old_file(tmp_path / "a")
    old = path.stat().st_mtime_ns
    remembered(path, "what", counting()[0])
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
    find_out, asked = counting(b"anew")
    assert remembered(path, "what", find_out) == b"anew"
    assert remembered(path, "what", find_out) == b"anew"
    assert asked == [0]


def test_a_film_that_changes_in_place_is_measured_again(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(5), 16)
    assert measure(aged(tmp_path / "a.mp4")).frames == 5
    write_video(tmp_path / "a.mp4", film(7), 16)
    assert measure(aged(tmp_path / "a.mp4")).frames == 7


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    find_out, asked = counting()
    for _ in range(3):
        remembered(path, "what", find_out)
    assert asked == [0, 1, 2]
    remembered(aged(path), "what", find_out)
    remembered(path, "what", find_out)
    assert asked == [0, 1, 2, 3]


def test_a_file_of_the_future_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    later = path.stat().st_mtime_ns + 3_600_000_000_000
    os.utime(path, ns=(later, later))
    find_out, asked = counting()
    remembered(path, "what", find_out)
    remembered(path, "what", find_out)
    assert asked == [0, 1]


def test_a_change_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")

    def find_out() -> dict[str, bytes]:
        path.write_bytes(b"another")
        return {"what": b"half of the one and half of the other"}

    with pytest.raises(DataError, match=r"the file changed while it was read .*/a\]"):
        remembered(path, "what", find_out)
    assert remembered(aged(path), "what", counting()[0]) == b"found"


def test_a_file_that_goes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")

    def find_out() -> dict[str, bytes]:
        path.unlink()
        return {"what": b"gone"}

    with pytest.raises(DataError, match="the video file is missing"):
        remembered(path, "what", find_out)


def test_what_fails_is_not_remembered(tmp_path: Path) -> None:
    path = aged(old_file(tmp_path / "a.mp4", b"no film"))
    for _ in range(2):
        with pytest.raises(DataError, match="the video is not an MP4"):
            measure(path)


def test_two_processes_at_once(tmp_path: Path, cache: Path) -> None:
    """Neither is there a cache before, nor does one wait for the other to end."""
    path = old_file(tmp_path / "a")
    both = [
        subprocess.Popen([sys.executable, "-c", MANY, path, name], stdin=-1, stdout=-1, stderr=-1, text=True)
        for name in ("one", "two")
    ]
    for each in both:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in both:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    for each in both:
        assert each.communicate()[1] == ""
    with sqlite3.connect(cache) as memory:
        assert memory.execute("SELECT count(*) FROM seen").fetchone() == (60,)


def test_threads_at_once(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")
    found: list[bytes] = []

    def ask(name: str) -> None:
        found.extend(remembered(path, f"{name} {k}", lambda k=k: {f"{name} {k}": name.encode()}) for k in range(20))

    threads = [Thread(target=ask, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [b"a"] * 20 + [b"b"] * 20 + [b"c"] * 20


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a")
    assert seen_digest(path) == seen_digest(path) == digest_bytes(b"abc")
    with pytest.raises(DataError, match="missing"):
        seen_digest(tmp_path / "gone")


@pytest.mark.parametrize("harm", ["no database", "a folder in its place", "another table", "cut short", "no folder"])
def test_a_cache_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, cache: Path, harm: str) -> None:
    path = old_file(tmp_path / "a")
    cache.parent.mkdir(parents=True)
    match harm:
        case "no database":
            cache.write_bytes(b"no database " * 100)
        case "a folder in its place":
            cache.mkdir()
        case "another table":
            with sqlite3.connect(cache) as memory:
                memory.execute("CREATE TABLE seen (name TEXT)")
        case "cut short":
            with sqlite3.connect(cache) as memory:
                memory.execute("CREATE TABLE seen (name TEXT)")
            cache.write_bytes(cache.read_bytes()[:5000])
        case "no folder":
            cache.parent.rmdir()
            cache.parent.write_bytes(b"")
    with pytest.raises(UserError) as told:
        remembered(path, "what", counting()[0])
    assert told.value.where == str(cache.parent if harm == "no folder" else cache)
    assert "\n" not in str(told.value)


def test_a_cache_that_was_deleted_is_made_again(tmp_path: Path, cache: Path) -> None:
    path, log = old_file(tmp_path / "a"), tmp_path / "log"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", FINDS_OUT, path, log], stdout=-1, check=True)
        cache.unlink()
    assert log.read_text() == "once\nonce\n"
