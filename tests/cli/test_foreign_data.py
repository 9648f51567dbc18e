"""Untrusted datasets on the command line: links and scripts are rejected or reported."""

import json
from pathlib import Path

import pytest
import yaml

from support.training import recipe_data
from worldtune.data.ledger import read_ledger

from ..data.videos import cosmos_folder
from .in_process import Verb, fault, in_process

__all__ = ["in_process"]
SECRET = "-----BEGIN OPENSSH PRIVATE KEY----- not for you"


def test_ffconcat_script_named_mp4_is_not_opened_as_video(
    in_process: Verb, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    videos = cosmos_folder(tmp_path / "films", {f"c{number}": 9 for number in range(8)})
    (videos / "videos/c0.mp4").rename(tmp_path / "x.mp4")
    (videos / "videos/c0.mp4").write_text("ffconcat version 1.0\nfile parts/x.mp4\nduration 0.5625\n")
    (videos / "parts").mkdir()
    (tmp_path / "x.mp4").rename(videos / "parts/x.mp4")
    (videos / "videos/parts").symlink_to("../parts")
    content = recipe_data(tiny_world, videos)
    content["data"] |= {"caption": "{caption}", "curate": {"duplicates": False}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    line = fault(in_process, "encode", tmp_path / "r.yaml")
    assert "2 of 9 recordings give no clip" in line
    done = in_process("check", tmp_path / "r.yaml", "data.max_skipped=0.9", "--ledger", "ledger.parquet", "--json")
    assert done.code == 0, done.err
    reasons = {row.episode: row.reason for row in read_ledger(tmp_path / "ledger.parquet").rows}
    assert reasons["c0"] == "the video is not an MP4, QuickTime, Matroska, WebM or AVI file"
    assert reasons["c1"] == ""


def test_caption_read_through_a_link_is_reported(in_process: Verb, tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"v0": 21, "v1": 21})
    (tmp_path / "id_rsa").write_text(SECRET)
    (root / "metas/v0.txt").unlink()
    (root / "metas/v0.txt").symlink_to("../../id_rsa")
    done = in_process("check", root, "--json", "--ledger", "ledger.parquet")
    (report,) = json.loads(done.out)
    assert report["used_but"] == {"read through a link out of the folder: v0.txt": 1}
    (note,) = [row.note for row in read_ledger(tmp_path / "ledger.parquet").rows if row.caption == SECRET]
    assert note == "read through a link out of the folder: v0.txt"
    assert "read through a link out of the folder" in " ".join(in_process("check", root).out.split())
