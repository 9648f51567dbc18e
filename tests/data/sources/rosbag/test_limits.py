"""ROS recordings that unpack to far more than their size, or refer to files of others."""

import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2.storage_mcap import zstd

from worldtune.data.sources import open_source
from worldtune.data.sources.rosbag import checks, limits
from worldtune.errors import DataError

from ...bag_files import picture, shot, write_bag
from ...reading import recordings, skipped
from ...videos import film

FILMS = {"/cam": shot(film(8))}
CHUNK = 6  # the opcode of an MCAP record


def why(path: Path) -> str:
    """Return why the recording cannot be read, in one line."""
    with pytest.raises(DataError) as refusal:
        open_source(str(path))
    assert "\n" not in str(refusal.value)
    return refusal.value.what


def zeros(size: int) -> bytes:
    """Return that many zeros, compressed by zstd without a content size."""
    packer = zstd.ZstdCompressor()
    parts = [packer.compress(bytes(1 << 24)) for _ in range(size >> 24)]
    return b"".join([*parts, packer.flush()])


def mcap_with_chunk(path: Path, packed: bytes, claimed: int) -> Path:
    """Write a recording of one chunk, without an index."""
    record = lambda op, body: struct.pack("<BQ", op, len(body)) + body  # noqa: E731
    text = lambda what: struct.pack("<I", len(what)) + what  # noqa: E731
    head = struct.pack("<QQQI", 0, 10, claimed, 0) + text(b"zstd") + struct.pack("<Q", len(packed))
    magic = b"\x89MCAP0\r\n"
    body = record(1, text(b"ros2") + text(b"")) + record(CHUNK, head + packed) + record(0x0F, struct.pack("<I", 0))
    path.write_bytes(magic + body + record(2, struct.pack("<QQI", 0, 0, 0)) + magic)
    return path


@pytest.fixture
def less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits from gigabytes to megabytes."""
    for module in (limits, checks):
        monkeypatch.setattr(module, "LARGEST", 1 << 24)


@pytest.mark.parametrize("claimed", [100, 1 << 26])
def test_chunk_bomb_is_an_error(tmp_path: Path, less: None, claimed: int) -> None:
    path = mcap_with_chunk(tmp_path / "a.mcap", zeros(1 << 26), claimed)
    assert path.stat().st_size < 8000
    assert "a part of it decompresses to more than 16,777,216 bytes" in why(path)


@pytest.mark.parametrize("zipped", ["storage", "file", "message"])
def test_every_compression_is_read(tmp_path: Path, zipped: str) -> None:
    storage = "sqlite3" if zipped == "message" else "mcap"
    (found,) = recordings(write_bag(tmp_path / "run", FILMS, storage=storage, zipped=zipped))  # type: ignore[arg-type]
    assert getattr(found, "frames", found) == 8


def test_compressed_file_bomb_is_an_error(tmp_path: Path, less: None) -> None:
    bag = write_bag(tmp_path / "run", FILMS, zipped="file")
    next(bag.glob("*.zstd")).write_bytes(zeros(1 << 26))
    assert why(bag) == "it decompresses to more than a recording may have"


def test_listed_file_outside_the_digest_is_an_error(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "run", FILMS)
    (listed,) = bag.glob("*.mcap")
    (bag / "film.data").write_bytes(listed.read_bytes())
    described = yaml.safe_load((bag / "metadata.yaml").read_text())
    described["rosbag2_bagfile_information"]["relative_file_paths"] = ["film.data"]
    (bag / "metadata.yaml").write_text(yaml.safe_dump(described))
    assert why(bag) == "it lists 'film.data', which is not a .mcap, .db3 or .zstd file beside it"


def test_yaml_alias_bomb_is_an_error(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "run", FILMS)
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9))]
    (bag / "metadata.yaml").write_text("\n".join(lines))
    assert why(bag).startswith("aliases expand to more than 200,000 values")


def test_uri_in_a_file_name_is_an_error(tmp_path: Path) -> None:
    write_bag(tmp_path / "secret.db3", FILMS, storage="sqlite3")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/%2e%2e%2fsecret.db3").write_bytes(b"SQLite format 3\0")
    assert why(tmp_path / "d") == "its path contains ?, # or %"


def test_database_view_is_an_error(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a.db3", FILMS, storage="sqlite3")
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS schema_version FROM n"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE schema")
        database.execute(f"CREATE VIEW schema AS {endless}")
    assert why(path) == "its schema is computed, not stored"


def test_image_bomb_in_a_message_skips_the_recording(tmp_path: Path) -> None:
    _, data = cv2.imencode(".png", np.zeros((9000, 9000), np.uint8))
    huge = picture(film(1)[0], "png")
    huge = type(huge)(huge.header, "png", data)
    path = write_bag(tmp_path / "a.mcap", {"/cam": [*FILMS["/cam"], (8 / 16, huge)]})
    assert skipped(path) == {"a": "an image of format 'png' cannot be decoded"}


def test_pipe_in_a_bag_folder_is_an_error(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "run", FILMS)
    (listed,) = bag.glob("*.mcap")
    listed.unlink()
    os.mkfifo(listed)
    assert why(bag) == "not a file"
