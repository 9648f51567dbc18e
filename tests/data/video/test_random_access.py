"""Frames read by number equal frames decoded from the file's start, for all codecs and key frame intervals."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worldtune.data.video.decode import read_frames
from worldtune.data.video.random_access import read_frames_at
from worldtune.errors import DataError

from ..videos import film

FRAMES = 90
FILES = {
    "h264 with B-frames": ("libx264", {"g": "12", "bf": "3", "crf": "20"}, "mp4"),
    "h264 with open GOPs": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1", "crf": "20"}, "mp4"),
    "h264 with one key frame": ("libx264", {"g": "500", "keyint_min": "500", "sc_threshold": "0"}, "mp4"),
    "h264 refreshed little by little": ("libx264", {"x264-params": "intra-refresh=1:keyint=12", "crf": "20"}, "mp4"),
    "hevc with open GOPs": ("libx265", {"x265-params": "keyint=12:open-gop=1:bframes=3:log-level=none"}, "mp4"),
    "AV1": ("libsvtav1", {"g": "10", "preset": "12", "svtav1-params": "lookahead=0"}, "mp4"),
    "VP9": ("libvpx-vp9", {"g": "15", "deadline": "realtime", "cpu-used": "8"}, "webm"),
}


def write(path: Path, codec: str, options: dict[str, str], uneven: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(30))
        stream.width = stream.height = 64
        stream.pix_fmt, stream.options = "yuv420p", options
        stream.codec_context.time_base = Fraction(1, 600)
        for number, frame_HWC in enumerate(film(FRAMES)):
            picture = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            picture.pts, picture.time_base = 20 * number + (7 * number % 11 if uneven else 0), Fraction(1, 600)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module", params=[*FILES, "uneven times"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Return a file and all its frames, decoded in order."""
    codec, options, ending = FILES.get(request.param, FILES["h264 with B-frames"])
    path = write(tmp_path_factory.mktemp("video") / f"a.{ending}", codec, options, request.param == "uneven times")
    return path, np.stack(list(read_frames(path)))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=8, unique=True))
def test_random_access_equals_full_decoding(video: tuple[Path, np.ndarray], chosen: list[int]) -> None:
    path, frames_THWC = video
    found = list(read_frames_at(path, sorted(chosen)))
    assert [number for number, _ in found] == sorted(chosen)
    for number, frame_HWC in found:
        assert np.array_equal(frame_HWC, frames_THWC[number]), number


def in_place_of(path: Path, content: bytes) -> None:
    """Replace the file's bytes but keep its size and time, so that cached information stays valid."""
    state = path.stat()
    assert len(content) == state.st_size
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def padded(path: Path, size: int) -> Path:
    """Append a box that readers ignore (ISO/IEC 14496-12 §8.1.2)."""
    with path.open("ab") as file:
        missing = size - file.tell()
        file.write(missing.to_bytes(4) + b"free" + bytes(missing - 8))
    return path


@pytest.mark.usefixtures("by_time_of_bytes")
def test_earlier_frames_are_not_decoded(tmp_path: Path) -> None:
    """The frame can be read though all key frames but the last are destroyed."""
    path = write(tmp_path / "a.mp4", *FILES["h264 with B-frames"][:2])
    *_, expected = read_frames(path)
    with av.open(str(path)) as container:
        begins = [p.pos for p in container.demux(container.streams.video[0]) if p.is_keyframe and p.pos is not None]
    (before,) = read_frames_at(path, [0])
    content = bytearray(path.read_bytes())
    content[begins[0] + 4 : begins[-1]] = bytes(begins[-1] - begins[0] - 4)
    in_place_of(path, bytes(content))
    with pytest.raises(DataError):
        list(read_frames(path))
    ((number, frame_HWC),) = read_frames_at(path, [FRAMES - 1])
    assert (before[0], number) == (0, FRAMES - 1)
    assert np.array_equal(frame_HWC, expected)


@pytest.mark.usefixtures("by_time_of_bytes")
def test_changed_time_stamps_still_give_the_right_frames(tmp_path: Path) -> None:
    size = 2**17
    path, other = (
        padded(write(tmp_path / name, *FILES["h264 with B-frames"][:2], uneven=name == "b.mp4"), size)
        for name in ("a.mp4", "b.mp4")
    )
    expected = list(read_frames(other))
    assert len(list(read_frames_at(path, [13]))) == 1
    in_place_of(path, other.read_bytes())
    found = list(read_frames_at(path, [13, 40, 89]))
    assert [number for number, _ in found] == [13, 40, 89]
    assert all(np.array_equal(frame_HWC, expected[number]) for number, frame_HWC in found)


def test_frames_past_the_end_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", *FILES["h264 with B-frames"][:2])
    assert [number for number, _ in read_frames_at(path, [5, FRAMES, FRAMES + 3])] == [5]
