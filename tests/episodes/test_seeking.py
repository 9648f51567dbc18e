"""Frames by number are those of a decoding from the file's beginning, whatever the codec and its key frames."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import worldtune.episodes.seeking as seeking
from worldtune.episodes.seeking import read_chosen
from worldtune.episodes.video import read_frames

from .films import film

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
    """A file and all its frames, decoded in order."""
    codec, options, ending = FILES.get(request.param, FILES["h264 with B-frames"])
    path = write(tmp_path_factory.mktemp("video") / f"a.{ending}", codec, options, request.param == "uneven times")
    return path, np.stack(list(read_frames(path)))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=8, unique=True))
def test_any_frames_are_the_same_as_from_the_beginning(video: tuple[Path, np.ndarray], chosen: list[int]) -> None:
    path, frames_THWC = video
    found = list(read_chosen(path, sorted(chosen)))
    assert [number for number, _ in found] == sorted(chosen)
    for number, frame_HWC in found:
        assert np.array_equal(frame_HWC, frames_THWC[number]), number


def test_what_lies_before_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, decoded = write(tmp_path / "a.mp4", *FILES["h264 with B-frames"][:2]), []
    list(read_chosen(path, [0]))  # scanned once, whole
    whole = seeking.decode
    monkeypatch.setattr(seeking, "decode", lambda *a: (decoded.append(frame) or frame for frame in whole(*a)))
    (found,) = read_chosen(path, [FRAMES - 1])
    assert found[0] == FRAMES - 1
    assert len(decoded) <= 12 + 3


def test_a_seek_that_lands_elsewhere_gives_the_right_frame_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", *FILES["h264 with B-frames"][:2])
    expected = np.stack(list(read_frames(path)))
    whole = seeking.decode
    last = list(seeking.scan(path).place)[-8]
    monkeypatch.setattr(seeking, "decode", lambda path, stamp=None: whole(path, stamp and last))
    for number, frame_HWC in read_chosen(path, [13, 40, 89]):
        assert np.array_equal(frame_HWC, expected[number])


def test_frames_past_the_end_do_not_come(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", *FILES["h264 with B-frames"][:2])
    assert [number for number, _ in read_chosen(path, [5, FRAMES, FRAMES + 3])] == [5]
