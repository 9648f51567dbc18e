"""Files named .mp4 that are something else, and files that claim more than they contain."""

import os
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import worldtune
from worldtune.data.video.decode import read_frames, write_video
from worldtune.data.video.video_index import measure_video
from worldtune.errors import DataError

from ..mp4_boxes import TABLES, box, exchange, write_with_index_last
from ..videos import film, read_back

NOT_A_FILM = "not an MP4, QuickTime, Matroska, WebM or AVI file"
TEXTS = {
    "concat script": b"ffconcat version 1.0\nfile other.mp4\nduration 0.5\n",
    "concat script of a device": b"ffconcat version 1.0\nfile /dev/zero\n",
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
    "session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "DASH manifest": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period><BaseURL>"
    b"other.mp4</BaseURL></Period></MPD>",
    "filter graph": b"testsrc=duration=1:size=64x64:rate=16\n",
    "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\nother.mp4\n",
    "metadata": b";FFMETADATA1\ntitle=x\n",
    "drawing": b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'><image href='other.png'/></svg>",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "text": b"not a video",
}
ALIAS_OF_OTHER = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + struct.pack(">2H", 1, 0) + bytes(16)
ALIAS_OF_OTHER += struct.pack(">2H", 2, 10) + b"/other.mp4" + struct.pack(">2H", 0xFFFF, 0)


@pytest.mark.parametrize("kind", TEXTS)
def test_file_of_another_kind_is_an_error(tmp_path: Path, kind: str) -> None:
    write_video(tmp_path / "other.mp4", film(8), 16)
    (tmp_path / "a.mp4").write_bytes(TEXTS[kind])
    with pytest.raises(DataError, match=NOT_A_FILM) as refusal:
        measure_video(tmp_path / "a.mp4")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["concat:other.mp4", "subfile,,start,0,end,0,,:other.mp4", "%03d.mp4", "file:x.mp4"])
def test_file_name_is_not_read_as_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_video(tmp_path / "other.mp4", film(8), 16)
    write_video(tmp_path / name, film(5, tag=3), 16)
    monkeypatch.chdir(tmp_path)
    assert read_back(np.stack(list(read_frames(Path(name))))) == [(3, t) for t in range(5)]


def test_media_data_in_another_file_is_not_read(tmp_path: Path) -> None:
    write_with_index_last(tmp_path / "other.mp4", film(8))
    path = tmp_path / "a.mp4"
    path.write_bytes((tmp_path / "other.mp4").read_bytes())
    link = box(b"alis", 0, after=ALIAS_OF_OTHER)
    exchange(path, [*TABLES[:-1], b"dinf"], box(b"dinf", after=box(b"dref", 0, 1, after=link)))
    with pytest.raises(DataError, match=r"no frames|cannot be"):
        measure_video(path)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("mov", "libx264"), ("matroska", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")],
)
def test_every_self_contained_container_is_read(tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format=container) as written:
        stream: Any = written.add_stream(codec, rate=16, options={"bf": "0"} if codec == "libx264" else {})
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        for frame_HWC in film(20):
            written.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        written.mux(stream.encode(None))
    assert measure_video(path).frames == 20


def test_long_static_video_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=30, options={"g": "9999", "bf": "3", "preset": "ultrafast"})
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        still = av.VideoFrame.from_ndarray(film(1)[0], format="rgb24").reformat(format="yuv420p")
        for _ in range(10_000):
            still.pts = None
            container.mux(stream.encode(still))
        container.mux(stream.encode(None))
    assert path.stat().st_size < 250_000
    assert measure_video(path).frames == 10_000


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}])
def test_video_with_index_last_or_fragments_is_read(tmp_path: Path, options: dict[str, str]) -> None:
    write_with_index_last(tmp_path / "a.mp4", film(40), options)
    assert measure_video(tmp_path / "a.mp4").frames == 40


def test_an_edit_list_of_two_parts_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_with_index_last(path, film(40))
    parts = box(b"elst", 0, 2, 1000, 0, 65536, 1000, 1024 * 16, 65536)
    exchange(path, [b"moov", b"trak", b"edts"], box(b"edts", after=parts))
    assert measure_video(path).frames > 16


@pytest.mark.parametrize("count", [10_000, 10_000_000, 2**32 - 1])
def test_index_with_more_frames_than_bytes_is_an_error(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.mp4"
    write_with_index_last(path, film(8))
    exchange(path, [*TABLES, b"stsz"], box(b"stsz", 0, 1, count))
    exchange(path, [*TABLES, b"stsc"], box(b"stsc", 0, 1, 1, count, 1))
    with pytest.raises(DataError, match=f"claims {count:,} frames, more than its"):
        measure_video(path)


def test_fragment_with_more_frames_than_bytes_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_with_index_last(path, film(8), {"movflags": "frag_keyframe+empty_moov+default_base_moof"})
    exchange(path, [b"moof", b"traf", b"trun"], box(b"trun", 1, 50_000_000, 100))
    with pytest.raises(DataError, match="claims 50,000,000 frames"):
        measure_video(path)


def test_index_hidden_in_sample_entries_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_with_index_last(path, film(8))
    data = path.read_bytes()
    entry = data[data.index(b"stsd") + 12 : data.index(b"stts") - 4]
    entry = struct.pack(">I", len(entry) + 20) + entry[4:] + box(b"stsz", 0, 1, 10_000_000)
    exchange(path, [*TABLES, b"stsd"], box(b"stsd", 0, 1, after=entry))
    with pytest.raises(DataError, match="frames, more than its"):
        measure_video(path)


@pytest.mark.parametrize(("parts", "message"), [(50, "names the same bytes again"), (2_000_000, "2,000,000 times")])
def test_endless_edit_list_is_an_error(tmp_path: Path, parts: int, message: str) -> None:
    path = tmp_path / "a.mp4"
    write_with_index_last(path, film(8))
    played = box(b"elst", 0, parts, after=struct.pack(">3I", 500, 0, 65536) * min(parts, 50))
    exchange(path, [b"moov", b"trak", b"edts"], box(b"edts", after=played))
    with pytest.raises(DataError, match=message):
        measure_video(path)


def test_compressed_header_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(box(b"ftyp", 0, 0) + box(b"moov", after=box(b"cmov", 0)))
    with pytest.raises(DataError, match="header is compressed"):
        measure_video(tmp_path / "a.mp4")


def test_images_of_impossible_size_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format="mov") as container:
        stream: Any = container.add_stream("png", rate=16)
        stream.height = stream.width = 64
        stream.pix_fmt = "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(film(1)[0], format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack(">2I", 64, 64), struct.pack(">2I", 40_000, 40_000)))
    with pytest.raises(DataError, match=r"cannot be decoded|more than 67,108,864 pixels"):
        measure_video(path)


def test_pipe_is_not_a_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=r"not a file|empty"):
        next(read_frames(tmp_path / "a.mp4"))


def test_only_video_file_opens_videos() -> None:
    source = Path(worldtune.__file__).parent
    opening = {
        str(file.relative_to(source))
        for file in source.rglob("*.py")
        for line in file.read_text().splitlines()
        if "av.open(" in line and '"w"' not in line
    }
    assert opening == {"data/video/video_file.py", "cli/machine.py"}  # the last option reads what it has just written
