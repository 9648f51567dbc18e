"""Folders as they come: odd names, links, controls in captions, files that are still written, very many files."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from conftest import CommandLine
from worldtune.episodes.clip import read_clip
from worldtune.episodes.dataset import Dataset, open_dataset, take_stock
from worldtune.episodes.ledger import read_ledger
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.video import write_video
from worldtune.errors import DataError
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.worlds.load import open_world

from .films import cosmos_folder, film, read_back, write_tasks, write_v2
from .hub import Hub, serving

EMPTY_BOX = b"\0\0\0\x08free"
CONTROLS = "control characters left out of its caption"
LINK = "a link out of the folder"


def stock(root: Path, **settings: Any) -> Dataset:
    size = {"frames": 8, "fps": 16, "height": 64, "width": 64}
    return take_stock(DataSpec.model_validate({"path": str(root), "caption": "a robot"} | size | settings))


def rows(root: Path, **settings: Any) -> dict[str, str]:
    """What the ledger says of each recording: why it is not used, or the note."""
    return {row.episode: row.reason or row.note for row in stock(root, **settings).ledger.rows}


def test_every_name_that_is_text_is_read(tmp_path: Path) -> None:
    stems = ["two words", 'it\'s "quoted"', "new\nline", "机器人 ñ", "a.b", "{x}", "100%", "l" * 251]
    root = cosmos_folder(tmp_path / "my\n«data»", dict.fromkeys(stems, 8))
    dataset = stock(root, caption="{caption}")
    assert {clip.episode: clip.caption for clip in dataset.clips} == {
        stem: " ".join(f"the robot does {stem}".split()) for stem in stems
    }
    for clip in dataset.clips:
        assert read_back(read_clip(clip)) == [(stems.index(clip.episode), t) for t in range(8)]
    dataset.ledger.write(tmp_path / "ledger.parquet")
    assert read_ledger(tmp_path / "ledger.parquet") == dataset.ledger


def test_a_name_that_is_no_text_is_a_lost_recording(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    shutil.copy(root / "videos/a.mp4", os.fsencode(root / "videos") + b"/caf\xe9.mp4")
    (root / "metas" / os.fsdecode(b"\xff.txt")).write_text("a caption")
    dataset = stock(root)
    assert {row.episode: row.reason for row in dataset.ledger.rows} == {
        "a": "",
        r"caf\xe9": "its name is not UTF-8",
        r"metas/\xff.txt": "a caption without a video",
    }
    dataset.ledger.write(tmp_path / "ledger.parquet")


def test_two_files_of_one_name_are_two_recordings(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "b": 8})
    write_video(tmp_path / "c.mp4", film(8, tag=9), 16)
    (tmp_path / "c.mp4").rename(root / "videos/a.MP4")
    shown = {clip.episode: read_back(read_clip(clip))[0][0] for clip in stock(root).clips}
    assert shown == {"a.mp4": 0, "a.MP4": 9, "b": 1}


@pytest.mark.parametrize("inside", ["", "videos"])
def test_links_are_read_and_told(tmp_path: Path, inside: str) -> None:
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
        "dead": "a link to nothing",
        "folder": "not a file",
        "metas/elsewhere.txt": "a caption without a video",
    }


def test_a_folder_of_videos_that_is_a_link_is_told(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    (root / "videos").rename(tmp_path / "films")
    (root / "videos").symlink_to(tmp_path / "films")
    assert rows(root) == {"a": LINK}
    (tmp_path / "named").symlink_to(tmp_path / "d")
    shutil.move(tmp_path / "films", root / "real")
    (root / "videos").unlink()
    (root / "videos").symlink_to("real")
    assert rows(tmp_path / "named") == {"a": ""}


def test_links_of_a_lerobot_dataset(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (8, 8, 8))
    videos = root / "videos/chunk-000/cam"
    (videos / "episode_000001.mp4").rename(tmp_path / "one.mp4")
    (videos / "episode_000001.mp4").symlink_to(tmp_path / "one.mp4")
    (videos / "episode_000002.mp4").unlink()
    (videos / "episode_000002.mp4").symlink_to(tmp_path / "gone.mp4")
    assert rows(root) == {"000000": "", "000001": LINK, "000002": "the video file is missing"}


@pytest.mark.parametrize("kind", ["folder", "lerobot"])
def test_the_links_of_the_hubs_cache_are_its_own(
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
def test_control_characters_are_left_out_of_captions_and_told(tmp_path: Path, where: str) -> None:
    root = tmp_path / "d"
    nul = "\x01" if where in ("captions", "tasks") else "\x00"  # which JSON is refused for
    texts = {"a": f"It\x1b[31m lifts{nul}\x7f it.", "b": "It\twaits\nthere.", "c": "机器人 naïve 🤖"}
    if where == "tasks":
        write_tasks(write_v2(root, (8, 8, 8)), list(texts.values()))
        episodes = [{"episode_index": n, "length": 8, "tasks": [text]} for n, text in enumerate(texts.values())]
        (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, episodes)))
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
        ledger = stock(root, caption=template).ledger
        assert [(row.caption, row.note) for row in ledger.rows] == [
            ("It [31m lifts it.", CONTROLS),
            ("It waits there.", ""),
            ("机器人 naïve 🤖", ""),
        ]


@contextmanager
def growing(file: Path) -> Iterator[None]:
    """A zero is added to the file again and again, until the block ends; that does not make an mp4 another film."""
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


def test_a_video_that_is_still_written_is_a_lost_recording(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "b": 8})
    write_video(root / "videos/b.mp4", np.tile(film(200), (3, 1, 1, 1)), 16)
    with growing(root / "videos/b.mp4"):
        found = rows(root)
    assert found == {"a": "", "b": "the file changed while it was read"}
    assert stock(root).ledger.share_lost() == 0


def test_a_video_that_grew_after_the_dataset_was_opened_is_one_line(tmp_path: Path, tiny_world: Path) -> None:
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
    dataset = stock(tmp_path)
    assert dataset.ledger.reasons() == {"the file is empty": count}
    assert len(dataset.ledger.recordings()) == count
    assert dataset.faults[0] == "no clip can be used"
