"""Every reader reports a Git LFS pointer in place of a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from worldtune.core.strict_io import read_json
from worldtune.core.tensors.read import read_safetensors, read_tensors
from worldtune.data.sources import open_source
from worldtune.data.sources.lerobot.metadata_files import read_jsonl, read_table
from worldtune.data.video.image_file import read_image
from worldtune.data.video.video_index import measure_video
from worldtune.errors import UserError

POINTER = """version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""
READERS: list[tuple[str, Callable[[Path], object]]] = [
    ("a.mp4", measure_video),
    ("a.webm", measure_video),
    ("a.parquet", read_table),
    ("a.jsonl", read_jsonl),
    ("a.json", read_json),
    ("a.png", read_image),
    ("a.safetensors", read_safetensors),
    ("a.safetensors", read_tensors),
    ("a.pt", read_tensors),
    ("a.hdf5", lambda path: open_source(str(path), 20)),
    ("a.mcap", lambda path: list(open_source(str(path)).recordings(["/camera"]))),
]


@pytest.mark.parametrize(("name", "read"), READERS)
def test_pointer_error_suggests_git_lfs_pull(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(UserError, match="a Git LFS pointer, not the file itself: run `git lfs pull`"):
        read(tmp_path / name)


def test_text_about_git_lfs_is_not_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('"version https://git-lfs.github.com/spec/v1"')
    assert read_json(tmp_path / "a.json") == "version https://git-lfs.github.com/spec/v1"
