"""Links out of the dataset, which any of its files may be, are reported in the same way."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ..bag_files import shot, write_bag
from ..demo_files import write_demos
from ..reading import build
from ..videos import cosmos_folder, film, write_packed_v3, write_v2

FILM = "a link out of the folder"
SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----"


def read_through(*names: str) -> str:
    return f"read through a link out of the folder: {', '.join(names)}"


def notes(root: Path, caption: str = "{caption}") -> dict[str, str]:
    """Return the ledger's reason or note of each recording."""
    return {row.episode: row.reason or row.note for row in build(root, caption=caption).ledger.rows}


def move_out(file: Path, out: Path) -> Path:
    """Move the file outside, and put a link in its place."""
    out.mkdir(exist_ok=True)
    file.rename(out / file.name)
    file.symlink_to(out / file.name)
    return file


def metas(root: Path) -> Path:
    return cosmos_folder(root, {"a": 8, "b": 8}) / "metas/a.txt"


def captions(root: Path) -> Path:
    metas(root)
    (root / "captions").mkdir()
    for stem in "ab":
        (root / f"captions/{stem}.json").write_text(json.dumps({"m": {"long": f"it does {stem}"}}))
    return root / "captions/a.json"


def beside(root: Path) -> Path:
    metas(root)
    for file in [*(root / "metas").iterdir(), *(root / "videos").iterdir()]:
        file.rename(root / file.name)
    (root / "metas").rmdir()
    (root / "videos").rmdir()
    return root / "a.txt"


@pytest.mark.parametrize("make", [metas, captions, beside])
def test_linked_caption_is_noted(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    text = make(tmp_path / "d")
    assert notes(tmp_path / "d") == {"a": "", "b": ""}
    move_out(text, tmp_path / "out")
    assert notes(tmp_path / "d") == {"a": read_through(text.name), "b": ""}


def test_linked_caption_of_a_skipped_video_is_noted(tmp_path: Path) -> None:
    move_out(metas(tmp_path / "d"), tmp_path / "out")
    (tmp_path / "d/videos/a.mp4").write_bytes(b"")
    assert notes(tmp_path / "d") == {"a": f"the file is empty; {read_through('a.txt')}", "b": ""}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_linked_table_is_noted_for_each_recording(tmp_path: Path, name: str) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "b": 8})
    for text in (root / "metas").iterdir():
        text.unlink()
    rows = [{"video": f"{stem}.mp4", "prompt": f"it does {stem}"} for stem in "ab"]
    lines = (
        ["video,prompt", *(",".join(row.values()) for row in rows)] if name.endswith("csv") else map(json.dumps, rows)
    )
    (root / name).write_text("\n".join(lines))
    move_out(root / name, tmp_path / "out")
    assert notes(root) == {"a": read_through(name), "b": read_through(name)}


def test_linked_caption_folder_is_noted(tmp_path: Path) -> None:
    metas(tmp_path / "d")
    move_out(tmp_path / "d/metas", tmp_path / "out")
    assert notes(tmp_path / "d") == {"a": read_through("a.txt"), "b": read_through("b.txt")}


def test_link_within_the_folder_is_not_noted(tmp_path: Path) -> None:
    text = metas(tmp_path / "d")
    move_out(text, tmp_path / "d/texts")
    assert notes(tmp_path / "d") == {"a": "", "b": ""}


@pytest.mark.parametrize("name", ["info.json", "episodes.jsonl", "tasks.jsonl", "modality.json"])
def test_linked_metadata_are_noted_for_each_recording(tmp_path: Path, name: str) -> None:
    root = write_v2(tmp_path / "d", (8, 8))
    (root / "meta/modality.json").write_text("{}")
    move_out(root / "meta" / name, tmp_path / "out")
    assert notes(root) == {"000000": read_through(name), "000001": read_through(name)}


def test_linked_rows_are_noted_for_their_recording(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (8, 8))
    move_out(root / "data/chunk-000/episode_000001.parquet", tmp_path / "out")
    assert notes(root) == {"000000": "", "000001": read_through("episode_000001.parquet")}


def test_linked_parquet_metadata_are_noted_for_each_recording(tmp_path: Path) -> None:
    root = write_packed_v3(tmp_path / "d", (8, 8), {"cam": [[0, 1]]})
    linked = move_out(next((root / "meta/episodes").rglob("*.parquet")), tmp_path / "out")
    assert notes(root) == dict.fromkeys(("000000", "000001"), read_through(linked.name))


def test_linked_hdf5_file_is_noted_unless_named_directly(tmp_path: Path) -> None:
    linked = move_out(write_demos(tmp_path / "d/lift.hdf5", {"demo_0": 8}), tmp_path / "out")
    assert notes(tmp_path / "d", "a robot") == {"demo_0": FILM}
    assert notes(linked, "a robot") == {"demo_0": ""}


def test_linked_recording_is_noted(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write_bag(tmp_path / "d/here.mcap", {"/cam": shot(film(8))})
    write_bag(tmp_path / "d/run", {"/cam": shot(film(8, tag=85))})
    move_out(next((tmp_path / "d/run").glob("*.mcap")), tmp_path / "out")
    receipt = "resampled to 16 Hz by receive times"
    assert notes(tmp_path / "d", "a robot") == {"here": receipt, "run": f"{receipt}; {FILM}"}


def test_snapshot_in_the_hub_cache_is_read(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "datasets--a--b/snapshots/0123", {"a": 8, "b": 8})
    blobs = tmp_path / "datasets--a--b/blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(path for path in root.rglob("*") if path.is_file())):
        file.rename(blobs / str(number))
        file.symlink_to(f"../../../blobs/{number}")
    assert notes(root) == {"a": "", "b": ""}
    move_out(root / "metas/a.txt", tmp_path / "datasets--a--c")
    (root / "metas/a.txt").unlink()
    (tmp_path / "datasets--a--c/a.txt").unlink()
    (tmp_path / "datasets--a--c/a.txt").write_text(SECRET)
    (root / "metas/a.txt").symlink_to(tmp_path / "datasets--a--c/a.txt")
    assert notes(root) == {"a": read_through("a.txt"), "b": ""}


@pytest.mark.parametrize("target", ["/proc/self/environ", "/dev/zero", "pipe"])
def test_caption_that_is_not_a_regular_file_is_skipped(tmp_path: Path, target: str) -> None:
    text = metas(tmp_path / "d")
    os.mkfifo(tmp_path / "pipe")
    text.unlink()
    text.symlink_to(tmp_path / target)
    (reason, other) = notes(tmp_path / "d").values()
    assert re.search(r"not a file|is not on a disk", reason)
    assert other == ""


@pytest.mark.parametrize("name", ["../secret.mp4", "{tmp}/secret.mp4", "videos/../../secret.mp4"])
def test_table_cannot_name_a_video_outside_the_folder(tmp_path: Path, name: str) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    (root / "metas/a.txt").unlink()
    (root / "videos/a.mp4").rename(tmp_path / "secret.mp4")
    cosmos_folder(tmp_path / "other", {"b": 8})
    (tmp_path / "other/videos/b.mp4").rename(root / "videos/b.mp4")
    named = name.replace("{tmp}", str(tmp_path))
    (root / "metadata.csv").write_text(f"video,prompt\n{named},a secret\nb.mp4,it does b\n")
    assert notes(root) == {named: "named in metadata.csv, but outside the folder", "b": ""}
