from pathlib import Path

import av
import numpy as np
import pytest

from worldtune.episodes.scan import VideoFacts, measure
from worldtune.episodes.video import fit_frame, read_frames, write_video
from worldtune.errors import DataError

from .films import film, read_back, write_reordered_video, write_uneven_video


def test_what_is_written_comes_back_frame_for_frame(tmp_path: Path) -> None:
    frames_THWC = film(37)
    write_video(tmp_path / "a.mp4", frames_THWC, 16)
    assert measure(tmp_path / "a.mp4") == VideoFacts(37, 16.0, 64, 64, True)
    back_THWC = np.stack(list(read_frames(tmp_path / "a.mp4")))
    assert read_back(back_THWC) == [(0, t) for t in range(37)]
    assert np.abs(back_THWC.astype(int) - frames_THWC).mean() < 4


def test_colours_survive(tmp_path: Path) -> None:
    patches = np.array([[250, 10, 10], [10, 200, 10], [20, 20, 240], [128, 128, 128]], np.uint8)
    frames_THWC = np.repeat(np.repeat(patches[None, None], 32, 1), 16, 2)
    write_video(tmp_path / "a.mp4", frames_THWC, 10)
    back_HWC = next(read_frames(tmp_path / "a.mp4"))
    assert np.abs(back_HWC[16, 8::16].astype(int) - patches).max() <= 6


def test_the_file_is_what_lerobot_and_browsers_play(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(9), 29.97)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.frames) == ("h264", "yuv420p", 9)
        assert stream.average_rate is not None
        assert float(stream.average_rate) == pytest.approx(29.97)
        keys = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    assert keys == [t % 2 == 0 for t in range(9)]
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, film(9), 16)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("shape", [(0, 64, 64, 3), (3, 63, 64, 3), (3, 64, 63, 3), (3, 64, 64, 4), (64, 64, 3)])
def test_frames_that_cannot_be_written_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="even sides"):
        write_video(tmp_path / "a.mp4", np.zeros(shape, np.uint8), 16)


def test_float_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="float64"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 8, 8, 3)), 16)


def test_reordered_frames_come_in_order_of_presentation(tmp_path: Path) -> None:
    write_reordered_video(tmp_path / "a.mp4", film(50, tag=3), 20)
    assert read_back(np.stack(list(read_frames(tmp_path / "a.mp4")))) == [(3, t) for t in range(50)]


def test_a_video_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    write_video(whole, film(12), 16)
    data = whole.read_bytes()
    with av.open(str(whole)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.pos is not None]
    cut = tmp_path / "cut.mp4"
    for end in sorted({0, 1, 7, 40, 600, *range(900, len(data), 211), *ends[:-1], len(data) - 1}):
        cut.write_bytes(data[:end])
        with pytest.raises(DataError):
            measure(cut)


def test_a_video_with_damaged_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, film(12), 16)
    data = bytearray(path.read_bytes())
    data[-400:-200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be decoded past frame"):
        measure(path)


@pytest.mark.parametrize("content", [b"", b"not a video", b"\x00\x00\x00\x08ftyp"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError):
        measure(tmp_path / "a.mp4")


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing.*gone\.mp4"):
        measure(tmp_path / "gone.mp4")


def test_a_changed_file_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, film(5), 16)
    assert measure(path).frames == 5
    write_video(path, film(8), 16)
    assert measure(path).frames == 8


def test_uneven_frame_times_are_seen(tmp_path: Path) -> None:
    write_uneven_video(tmp_path / "even.mp4", film(6), [0, 1, 2, 3, 4, 5])
    write_uneven_video(tmp_path / "gap.mp4", film(6), [0, 1, 2, 9, 10, 11])
    assert measure(tmp_path / "even.mp4").steady
    assert not measure(tmp_path / "gap.mp4").steady


def test_a_frame_of_the_right_size_is_left_alone() -> None:
    frame_HWC = film(1)[0]
    assert fit_frame(frame_HWC, 64, 64, "cover") is frame_HWC


def test_stretch_uses_the_whole_picture() -> None:
    frame_HWC = np.zeros((40, 80, 3), np.uint8)
    frame_HWC[:, 40:] = 200
    out_HWC = fit_frame(frame_HWC, 20, 20, "stretch")
    assert out_HWC.shape == (20, 20, 3)
    assert (out_HWC[:, :10] == 0).all()
    assert (out_HWC[:, 10:] == 200).all()


def test_cover_cuts_out_the_centre() -> None:
    frame_HWC = np.repeat(np.arange(80, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    assert (fit_frame(frame_HWC, 40, 40, "cover") == frame_HWC[:, 20:60]).all()


def test_letterbox_adds_black_bars() -> None:
    frame_HWC = np.full((40, 80, 3), 200, np.uint8)
    out_HWC = fit_frame(frame_HWC, 80, 80, "letterbox")
    assert out_HWC.shape == (80, 80, 3)
    assert (out_HWC[20:60] == 200).all()
    assert not out_HWC[:20].any()
    assert not out_HWC[60:].any()


@pytest.mark.parametrize("fit", ["stretch", "cover", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (33, 57), (57, 33), (200, 90), (64, 128)])
def test_every_fit_gives_the_size_asked_for(fit: str, size: tuple[int, int]) -> None:
    for frame_HWC in (film(1)[0], film(1)[0][:37], film(1)[0][:, :21]):
        assert fit_frame(frame_HWC, *size, fit).shape == (*size, 3)  # type: ignore[arg-type]
