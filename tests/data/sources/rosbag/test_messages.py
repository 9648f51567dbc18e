import sqlite3
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldtune.data.ledger import Row
from worldtune.data.sources import open_source
from worldtune.errors import DataError

from ...bag_files import picture, shot, write_bag
from ...reading import build, episode, frames, numbers, reported, skipped
from ...videos import film, read_back

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("run", {"storage": "mcap"}),
    ("run", {"storage": "mcap", "zipped": "storage"}),
    ("run", {"storage": "sqlite3"}),
    ("run", {"storage": "sqlite3", "zipped": "file"}),
    ("run", {"storage": "sqlite3", "zipped": "message"}),
    ("run.mcap", {"storage": "mcap"}),
    ("run.db3", {"storage": "sqlite3"}),
    ("run.bag", {}),
    ("run.bag", {"zipped": "storage"}),
]
CUT, HUGE, NOTHING = (picture(film(1)[0], "png") for _ in range(3))
CUT.data = CUT.data[:60]
HEADER = b"IHDR" + 2 * (60_000).to_bytes(4, "big") + HUGE.data[24:29].tobytes()
HUGE.data[12:33] = np.frombuffer(HEADER + zlib.crc32(HEADER).to_bytes(4, "big"), np.uint8)
NOTHING.data = NOTHING.data[:0]


def colored(length: int, tag: int = 0) -> np.ndarray:
    """Return frames whose channels all differ."""
    return film(length, tag) // np.array([1, 2, 4], np.uint8)


@pytest.mark.parametrize(("name", "how"), KINDS, ids=str)
def test_recordings_of_every_kind_are_read_in_place(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    path = write_bag(tmp_path / name, {"/cam": shot(colored(9))}, **how)
    source = open_source(str(path))
    assert (source.kind, source.cameras, source.count, source.tasks) == ("ROS recordings", ["/cam"], 1, [])
    found = episode(path, "/cam")
    assert (found.name, found.session, found.fps, found.frames) == ("run", tmp_path.name, 16, 9)
    assert (found.height, found.width, found.note, found.gaps) == (64, 64, "resampled to 16 Hz by receive times", ())
    assert np.array_equal(frames(found), colored(9))
    assert source.problems() == []


@pytest.mark.parametrize("encoding", ["png", "rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_images_of_every_encoding_are_exact(tmp_path: Path, encoding: str) -> None:
    shown = film(3, 5) if encoding == "mono8" else colored(3, 5)
    path = write_bag(tmp_path / "run", {"/cam": shot(shown)}, encoding)
    assert np.array_equal(frames(episode(path, "/cam")), shown)


@pytest.mark.parametrize("name", ["run", "run.bag"])
def test_first_message_of_a_stamp_is_used(tmp_path: Path, name: str) -> None:
    twice = [message for pair in zip(shot(film(9)), shot(film(9, 1)), strict=True) for message in pair]
    path = write_bag(tmp_path / name, {"/cam": twice})
    assert read_back(frames(episode(path, "/cam"))) == [(0, t) for t in range(9)]
    assert reported(path) == [("warning", name, "/cam: 9 messages have the same time as another and are not used")]


@pytest.mark.parametrize(
    ("frame", "encoding", "reason"),
    [
        (film(1)[0, ::2], "png", "its images have different sizes (64×64, 32×64)"),
        (film(1)[0, ::2], "rgb8", "its images have different sizes (64×64, 32×64)"),
        (np.zeros((64, 64), np.uint16), "png", "images have one color of type uint16"),
        (film(1)[0], "yuv422", "images are encoded as 'yuv422'"),
        (CUT, "png", "an image of format 'png' cannot be decoded"),
        (HUGE, "png", "an image of format 'png' cannot be decoded"),
        (NOTHING, "png", "an image of format 'png' cannot be decoded"),
    ],
    ids=["size", "raw size", "16 bits", "encoding", "cut", "huge", "nothing"],
)
def test_unusable_image_in_the_middle_skips_the_recording(
    tmp_path: Path, frame: Any, encoding: str, reason: str
) -> None:
    messages = [*shot(film(6)), (6 / 16, frame), *shot(film(6), 16, 7 / 16)]
    path = write_bag(tmp_path / "run", {"/cam": messages}, encoding)
    assert skipped(path) == {"run": reason}
    assert [row.reason for row in build(path, caption="a robot").ledger.rows] == [reason]


@pytest.mark.parametrize(("height", "width", "step"), [(64, 64, 1), (63, 64, 197), (0, 64, 197), (64, 0, 0)])
def test_image_of_wrong_size_is_skipped(tmp_path: Path, height: int, width: int, step: int) -> None:
    wrong = picture(film(1)[0], "rgb8")
    wrong.height, wrong.width, wrong.step = height, width, step
    wrong.data = wrong.data[: wrong.data.size * min(step, 1)]
    path = write_bag(tmp_path / "run", {"/cam": [*shot(film(6)), (6 / 16, wrong)]}, "rgb8")
    assert skipped(path)["run"].endswith(f" bytes are not an image of {height}×{width} rgb8")


@pytest.mark.parametrize(("name", "how"), [(name, how) for name, how in KINDS if name in ("run", "run.bag")], ids=str)
def test_damaged_bytes_are_a_one_line_error_or_skipped(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    path = write_bag(tmp_path / name, {"/cam": shot(film(9))}, "rgb8", **how)
    file = path if path.is_file() else next(child for child in path.iterdir() if child.suffix != ".yaml")
    data = file.read_bytes()
    for number in range(24):
        bad, at, size = bytearray(data), len(data) * number // 24, (8, 4096)[number % 2]
        bad[at : at + size] = b"\xff" * len(bad[at : at + size])
        file.write_bytes(bad)
        assert all(row.kept != bool(row.reason) for row in rows_or_refusal(path))


@pytest.mark.parametrize("length", [0, 2**50, 2**63, 2**64 - 1])
def test_impossible_record_length_is_a_one_line_error(tmp_path: Path, length: int) -> None:
    path = write_bag(tmp_path / "run.mcap", {"/cam": shot(film(9))})
    data = bytearray(path.read_bytes())
    data[9:17] = length.to_bytes(8, "little")  # in the first record
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"the recording cannot be read: .*run\.mcap"):
        open_source(str(path))


def rows_or_refusal(path: Path) -> tuple[Row, ...]:
    try:
        return build(path, caption="a robot").ledger.rows
    except DataError:
        return ()


def test_recording_without_type_definitions_is_read(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run.db3", {"/cam": shot(film(9))}, storage="sqlite3")
    with sqlite3.connect(path) as database:  # as ROS 2 wrote them up to Humble
        database.execute("DROP TABLE message_definitions")
        database.execute("UPDATE schema SET schema_version = 3")
    database.close()
    assert numbers(episode(path, "/cam")) == list(range(9))
