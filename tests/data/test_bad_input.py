"""Messy folders: odd names, links, control characters in captions, files still being written, very many files."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import CommandLine
from worldtune.data.clip import read_clip
from worldtune.data.dataset import Dataset, build_dataset, open_dataset
from worldtune.data.ledger import read_ledger
from worldtune.data.spec import DataSpec
from worldtune.data.video.decode import write_video
from worldtune.errors import DataError
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.models.load import open_world

from .hub import Hub, serving
from .videos import cosmos_folder, film, read_back, write_tasks, write_v2

EMPTY_BOX = b"\0\0\0\x08free"
CONTROLS = "control characters removed from its caption"
LINK = "a link out of the folder"


def build(root: Path, **settings: Any) -> Dataset:
    size = {"frames": 8, "fps": 16, "height": 64, "width": 64}
    return build_dataset(DataSpec.model_validate({"path": str(root), "caption": "a robot"} | size | settings))


def rows(root: Path, **settings: Any) -> dict[str, str]:
    """Return the ledger's reason or note of each recording."""
    return {row.episode: row.reason or row.note for row in build(root, **settings).ledger.rows}


def test_every_name_that_is_text_is_read(tmp_path: Path) -> None:
    stems = ["two words", 'it\'s "quoted"', "new\nline", "机器人 ñ", "a.b", "{x}", "100%", "l" * 251]
    root = cosmos_folder(tmp_path / "my\n«data»", dict.fromkeys(stems, 8))
    dataset = build(root, caption="{caption}")
    assert {clip.episode: clip.caption for clip in dataset.clips} == {
        stem: " ".join(f"the robot does {stem}".split()) for stem in stems
    }
    for clip in dataset.clips:
        assert read_back(read_clip(clip)) == [(stems.index(clip.episode), t) for t in range(8)]
    dataset.ledger.write(tmp_path / "ledger.parquet")
    assert read_ledger(tmp_path / "ledger.parquet") == dataset.ledger


def test_non_utf8_name_is_a_skipped_recording(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    shutil.copy(root / "videos/a.mp4", os.fsencode(root / "videos") + b"/caf\xe9.mp4")
    (root / "metas" / os.fsdecode(b"\xff.txt")).write_text("a caption")
    dataset = build(root)
    assert {row.episode: row.reason for row in dataset.ledger.rows} == {
        "a": "",
        r"caf\xe9": "its name is not UTF-8",
        r"metas/\xff.txt": "a caption without a video",
    }
    dataset.ledger.write(tmp_path / "ledger.parquet")


def test_two_files_with_one_name_are_two_recordings(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "b": 8})
    write_video(tmp_path / "c.mp4", film(8, tag=9), 16)
    (tmp_path / "c.mp4").rename(root / "videos/a.MP4")
    shown = {clip.episode: read_back(read_clip(clip))[0][0] for clip in build(root).clips}
    assert shown == {"a.mp4": 0, "a.MP4": 9, "b": 1}


@pytest.mark.parametrize("inside", ["", "videos"])
def test_links_are_read_and_noted(tmp_path: Path, inside: str) -> None:
    root = cosmos_folder(tmp_path / "d", {"here": 8, "elsewhere": 8})
    elsewhere = (root / "videos/elsewhere.mp4").rename(tmp_path / "films.mp4")
    if not inside:
        (root / "videos/here.mp4").rename(root / "here.mp4")
        (root / "videos").rmdir()
    for name, target in (("out", elsewhere), ("within", Path("here.mp4")), ("dead", tmp_path / "gone.mp4")):
        (root / inside / f"{name}.mp4").symlink_to(target)
    (root / inside / "folder.mp4").mkdir()
    assert rows(root, curate={"duplicates": False}) == {
        "here": "",
        "within": "",
        "out": LINK,
        "dead": "a broken link",
        "folder": "not a file",
        "metas/elsewhere.txt": "a caption without a video",
    }


def test_linked_video_folder_is_noted(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    (root / "videos").rename(tmp_path / "films")
    (root / "videos").symlink_to(tmp_path / "films")
    assert rows(root) == {"a": LINK}
    (tmp_path / "named").symlink_to(tmp_path / "d")
    shutil.move(tmp_path / "films", root / "real")
    (root / "videos").unlink()
    (root / "videos").symlink_to("real")
    assert rows(tmp_path / "named") == {"a": ""}


def test_links_of_a_lerobot_dataset_are_noted(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (8, 8, 8))
    videos = root / "videos/chunk-000/cam"
    (videos / "episode_000001.mp4").rename(tmp_path / "one.mp4")
    (videos / "episode_000001.mp4").symlink_to(tmp_path / "one.mp4")
    (videos / "episode_000002.mp4").unlink()
    (videos / "episode_000002.mp4").symlink_to(tmp_path / "gone.mp4")
    missing = "videos/chunk-000/cam/episode_000002.mp4"
    assert rows(root) == {"000000": "", "000001": LINK, "000002": f"the video file is missing ({missing})"}


@pytest.mark.parametrize("kind", ["folder", "lerobot"])
def test_hub_cache_links_are_not_noted(
    worldtune: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = cosmos_folder(tmp_path / "d", {"a": 21}) if kind == "folder" else write_v2(tmp_path / "d", (21,))
    with serving(Hub("someone/films", {"main": made})) as hub:
        for name, value in (("HF_ENDPOINT", hub.address), ("HF_HOME", str(tmp_path)), ("NO_PROXY", "127.0.0.1")):
            monkeypatch.setenv(name, value)
        (report,) = json.loads(worldtune("check", "hf:someone/films", "--json").stdout)
    assert (report["train"], report["used_but"]) == (1, {})
    assert any(path.is_symlink() for path in (tmp_path / "hub").rglob("*.mp4"))


@pytest.mark.parametrize("where", ["metas", "captions", "table", "tasks"])
def test_control_characters_are_removed_from_captions_and_noted(tmp_path: Path, where: str) -> None:
    root = tmp_path / "d"
    nul = "\x01" if where in ("captions", "tasks") else "\x00"  # which JSON does not allow
    texts = {"a": f"It\x1b[31m lifts{nul}\x7f it.", "b": "It\twaits\nthere.", "c": "机器人 naïve 🤖"}
    if where == "tasks":
        write_tasks(write_v2(root, (8, 8, 8)), list(texts.values()))
        episodes = [{"episode_index": n, "length": 8, "tasks": [text]} for n, text in enumerate(texts.values())]
        (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, episodes)))
        for n, path in enumerate(sorted(root.glob("data/*/*.parquet"))):
            rows = pq.read_table(path)
            at = rows.column_names.index("task_index")
            pq.write_table(rows.set_column(at, "task_index", pa.array([n] * len(rows))), path)
    else:
        shutil.rmtree(cosmos_folder(root, dict.fromkeys(texts, 8)) / "metas")
        (root / where).mkdir()
        for stem, text in texts.items():
            (root / where / f"{stem}.{'txt' if where == 'metas' else 'json'}").write_text(
                text if where == "metas" else json.dumps({"qwen": text})
            )
        if where == "table":
            cells = "".join(f'{stem},"{text}"\n' for stem, text in texts.items())
            (root / "metadata.csv").write_text(f"video,prompt\n{cells}")
    for template in ("{caption}", "{task}") if where == "tasks" else ("{caption}",):
        ledger = build(root, caption=template).ledger
        assert [(row.caption, row.note) for row in ledger.rows] == [
            ("It [31m lifts it.", CONTROLS),
            ("It waits there.", ""),
            ("机器人 naïve 🤖", ""),
        ]


@contextmanager
def growing(file: Path) -> Iterator[None]:
    """Append zeros to the file until the block ends, which does not change what an mp4 shows."""
    begun, ended = Event(), Event()

    def grow() -> None:
        with file.open("ab", buffering=0) as opened:
            while not ended.is_set():
                opened.write(b"\0")
                begun.set()

    thread = Thread(target=grow)
    thread.start()
    try:
        assert begun.wait(60)
        yield
    finally:
        ended.set()
        thread.join()


def test_video_still_being_written_is_skipped(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "b": 8})
    write_video(root / "videos/b.mp4", np.tile(film(200), (3, 1, 1, 1)), 16)
    with growing(root / "videos/b.mp4"):
        found = rows(root)
    assert found == {"a": "", "b": "the file changed while it was read"}
    assert build(root).ledger.share_skipped() == 0


def test_video_grown_since_opening_is_a_one_line_error(tmp_path: Path, tiny_world: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 9})
    spec = DataSpec(path=str(root), frames=9, fps=16, height=32, width=32)
    clips = open_dataset(spec).train
    with (root / "videos/a.mp4").open("ab") as file:
        file.write(EMPTY_BOX)
    with pytest.raises(DataError, match=r"the file changed since the dataset was opened \(clip a/video/0\) .*a\.mp4\]"):
        encode_clips(open_world(str(tiny_world)), clips, LatentStore(tmp_path / "store"))
    assert len(open_dataset(spec).train) == 1


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_very_many_empty_files_are_a_row_each(tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"{number:06d}.mp4").touch()
    dataset = build(tmp_path)
    assert dataset.ledger.reasons() == {"the file is empty": count}
    assert len(dataset.ledger.recordings()) == count
    assert dataset.faults[0].message == "no clip can be used"
