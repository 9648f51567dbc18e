from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from worldtune.data.video.decode import fit_frame, read_frames, write_video
from worldtune.data.video.footage import VideoFootage
from worldtune.data.video.video_index import VideoInfo, measure_video
from worldtune.errors import DataError

from ..videos import film, read_back, write_reordered_video, write_uneven_video


def test_written_video_is_read_back_frame_for_frame(tmp_path: Path) -> None:
    frames_THWC = film(37)
    write_video(tmp_path / "a.mp4", frames_THWC, 16)
    assert measure_video(tmp_path / "a.mp4") == VideoInfo(37, 16.0, 64, 64, True)
    back_THWC = np.stack(list(read_frames(tmp_path / "a.mp4")))
    assert read_back(back_THWC) == [(0, t) for t in range(37)]
    assert np.abs(back_THWC.astype(int) - frames_THWC).mean() < 4


def test_colors_survive(tmp_path: Path) -> None:
    patches = np.array([[250, 10, 10], [10, 200, 10], [20, 20, 240], [128, 128, 128]], np.uint8)
    frames_THWC = np.repeat(np.repeat(patches[None, None], 32, 1), 16, 2)
    write_video(tmp_path / "a.mp4", frames_THWC, 10)
    back_HWC = next(read_frames(tmp_path / "a.mp4"))
    assert np.abs(back_HWC[16, 8::16].astype(int) - patches).max() <= 6


def test_written_video_plays_in_lerobot_and_browsers(tmp_path: Path) -> None:
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
def test_frames_that_cannot_be_written_are_errors(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="even sides"):
        write_video(tmp_path / "a.mp4", np.zeros(shape, np.uint8), 16)


def test_float_frames_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="float64"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 8, 8, 3)), 16)


def test_reordered_frames_come_in_order_of_presentation(tmp_path: Path) -> None:
    write_reordered_video(tmp_path / "a.mp4", film(50, tag=3), 20)
    assert read_back(np.stack(list(read_frames(tmp_path / "a.mp4")))) == [(3, t) for t in range(50)]


def test_truncated_video_is_an_error(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    write_video(whole, film(12), 16)
    data = whole.read_bytes()
    with av.open(str(whole)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.pos is not None]
    cut = tmp_path / "cut.mp4"
    for end in sorted({0, 1, 7, 40, 600, *range(900, len(data), 211), *ends[:-1], len(data) - 1}):
        cut.write_bytes(data[:end])
        with pytest.raises(DataError):
            measure_video(cut)


def test_video_with_damaged_frames_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, film(12), 16)
    data = bytearray(path.read_bytes())
    data[-400:-200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be decoded past frame"):
        measure_video(path)


@pytest.mark.parametrize("content", [b"", b"not a video", b"\x00\x00\x00\x08ftyp"])
def test_non_video_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError):
        measure_video(tmp_path / "a.mp4")


def test_missing_video_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing.*gone\.mp4"):
        measure_video(tmp_path / "gone.mp4")


def test_changed_file_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, film(5), 16)
    assert measure_video(path).frames == 5
    write_video(path, film(8), 16)
    assert measure_video(path).frames == 8


def test_uneven_frame_times_are_detected(tmp_path: Path) -> None:
    write_uneven_video(tmp_path / "even.mp4", film(6), [0, 1, 2, 3, 4, 5])
    write_uneven_video(tmp_path / "gap.mp4", film(6), [0, 1, 2, 9, 10, 11])
    assert measure_video(tmp_path / "even.mp4").has_constant_rate
    assert not measure_video(tmp_path / "gap.mp4").has_constant_rate


def test_frame_of_the_right_size_is_unchanged() -> None:
    frame_HWC = film(1)[0]
    assert fit_frame(frame_HWC, 64, 64, "cover") is frame_HWC


def test_stretch_uses_the_whole_image() -> None:
    frame_HWC = np.zeros((40, 80, 3), np.uint8)
    frame_HWC[:, 40:] = 200
    out_HWC = fit_frame(frame_HWC, 20, 20, "stretch")
    assert out_HWC.shape == (20, 20, 3)
    assert (out_HWC[:, :10] == 0).all()
    assert (out_HWC[:, 10:] == 200).all()


def test_cover_cuts_out_the_center() -> None:
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


def oblong(path: Path, frames_THWC: np.ndarray, shape: Fraction) -> Path:
    """Write a video whose pixels are `shape` times as wide as tall."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("shape", "width"), [(Fraction(2), 128), (Fraction(4, 3), 85), (Fraction(1, 2), 32), (Fraction(1280, 1281), 64)]
)
def test_non_square_pixels_are_scaled(tmp_path: Path, shape: Fraction, width: int) -> None:
    path = oblong(tmp_path / "a.mp4", film(5, 3), shape)
    facts = measure_video(path)
    assert (facts.height, facts.width) == (64, width)
    assert facts.note == ("" if width == 64 else f"made of pixels {float(shape):.3g} times as wide as tall")
    for shown in (np.stack(list(read_frames(path))), np.stack([f for _, f in VideoFootage(path).frames(range(5))])):
        assert shown.shape == (5, 64, width, 3)
        if width != 85:
            assert read_back(shown) == [(3, t) for t in range(5)]


def test_extreme_pixel_aspect_ratio_is_an_error(tmp_path: Path) -> None:
    path = oblong(tmp_path / "a.mp4", film(5), Fraction(9))
    with pytest.raises(DataError, match=r"its pixels are 9 times as wide as they are tall \[.*square pixels"):
        measure_video(path)
