from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from worldtune.episodes.looks import Looks, look_at
from worldtune.episodes.scan import looks_of
from worldtune.episodes.video import read_frames, write_video

from .films import film
from .scenes import HEIGHT, WIDTH, scene, still, write_compressed

LENGTHS = st.integers(0, 6)


@st.composite
def looks(draw: st.DrawFn) -> Looks:
    T = draw(LENGTHS)
    thumbs = draw(arrays(np.uint8, (T, 16, 16)))
    sharpness = draw(arrays(np.float32, T, elements=st.floats(0, 65536, width=32)))
    return Looks(thumbs, sharpness, draw(arrays(np.float16, (T, 8, 8), elements=st.floats(0, 255, width=16))))


def same(one: Looks, other: Looks) -> bool:
    pairs = [(one.thumbs, other.thumbs), (one.sharpness, other.sharpness), (one.motion, other.motion)]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@given(looks())
def test_what_was_seen_survives_as_bytes(seen: Looks) -> None:
    assert same(Looks.from_bytes(seen.to_bytes()), seen)


@given(looks(), st.integers(0, 6), st.integers(0, 6))
def test_a_part_is_compared_with_nothing_before_it(seen: Looks, start: int, frames: int) -> None:
    part, its = seen.part(start, frames), slice(start, start + frames)
    assert np.array_equal(part.thumbs, seen.thumbs[its])
    assert np.array_equal(part.sharpness, seen.sharpness[its])
    assert not part.motion[:1].any()
    assert np.array_equal(part.motion[1:], seen.motion[its][1:])


def test_a_part_leaves_the_whole_as_it_is(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", scene(4, 1), 16)
    seen = looks_of(tmp_path / "a.mp4")
    seen.part(2, 2)
    assert seen.motion[2].any()


@pytest.mark.parametrize("crf", [18, 28])
def test_a_fixed_camera_is_not_static(tmp_path: Path, crf: int) -> None:
    """A square of 8×8 pixels, 1 % of the picture, goes to and fro in a recording with noise."""
    frames_THWC = scene(12, 1, side=8)
    seen = looks_of(write_compressed(tmp_path / "a.mp4", frames_THWC, crf))
    most, middle = seen.motion[1:].max((1, 2)), np.median(seen.motion[1:], axis=(1, 2))
    assert (most > 10).all()
    assert (most > 5 * middle).all()
    changed = np.abs(np.diff(frames_THWC.astype(int), axis=0)).sum(3)
    by_patch = changed.reshape(-1, 8, HEIGHT // 8, 8, WIDTH // 8).sum((2, 4))
    where = seen.motion[1:].reshape(11, -1).argmax(1)
    assert (by_patch.reshape(11, -1)[np.arange(11), where] > 0.5 * by_patch.max((1, 2))).all()


@pytest.mark.parametrize("crf", [18, 28])
def test_noise_and_key_frames_are_no_motion(tmp_path: Path, crf: int) -> None:
    seen = looks_of(write_compressed(tmp_path / "a.mp4", still(30), crf))
    assert seen.motion.max() < 5
    assert np.median(np.ptp(seen.thumbs.astype(int), axis=0)) <= 2


def test_the_first_frame_moves_nothing_and_each_step_is_its_own(tmp_path: Path) -> None:
    frames_THWC = np.zeros((4, 64, 64, 3), np.uint8)
    frames_THWC[2, 8:16, 24:32] = 200
    seen = look_at(frames_THWC)
    expected = np.zeros((4, 8, 8))
    expected[2:, 1, 3] = 200
    assert np.array_equal(seen.motion, expected)


def test_thumbnails_and_brightness_are_those_of_the_picture(tmp_path: Path) -> None:
    frames_THWC = np.full((2, 96, 128, 3), 20, np.uint8)
    frames_THWC[1, :, 64:] = 220
    seen = look_at(frames_THWC)
    assert seen.thumbs.shape == (2, 16, 16)
    assert (seen.thumbs[1, :, :8] == 20).all()
    assert (seen.thumbs[1, :, 8:] == 220).all()
    assert seen.brightness.tolist() == [20, 120]


def test_a_soft_picture_is_less_sharp_at_any_size() -> None:
    for factor in (1, 4):
        sharp = np.kron(film(1, 90, 165)[0], np.ones((factor, factor, 1), np.uint8))
        soft = cv2.GaussianBlur(sharp, (0, 0), 2 * factor)
        seen = look_at([sharp, soft])
        assert seen.sharpness[1] < 0.2 * seen.sharpness[0]


def test_what_a_small_picture_cannot_show_is_no_sharpness() -> None:
    fine_HW = (200 * (np.indices((384, 512)).sum(0) % 2)).astype(np.uint8)
    assert look_at([fine_HW[..., None].repeat(3, 2)]).sharpness[0] < 1


def ramp() -> np.ndarray:
    """uint8 (3, 64, 64, 3): grey from black at the left to white at the right."""
    grey_W = np.linspace(0, 255, 64).astype(np.uint8)
    return np.broadcast_to(grey_W[None, None, :, None], (3, 64, 64, 3)).copy()


def write_as(path: Path, frames_THWC: np.ndarray, codec: str, kind: str, whole_range: bool) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], kind
        shades = ColorRange.JPEG if whole_range else ColorRange.MPEG
        stream.codec_context.color_range = int(shades)
        for frame_HWC in frames_THWC:
            picture = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            container.mux(stream.encode(picture.reformat(format=kind, dst_color_range=shades)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("whole_range", [False, True])
@pytest.mark.parametrize(
    ("codec", "kind"),
    [("libx264", "yuv420p"), ("libx264", "yuv444p"), ("libsvtav1", "yuv420p"), ("libx265", "yuv420p10le")],
)
def test_the_luma_of_a_file_is_the_grey_of_its_pictures(
    tmp_path: Path, codec: str, kind: str, whole_range: bool
) -> None:
    path = write_as(tmp_path / "a.mp4", ramp(), codec, kind, whole_range)
    of_file, of_pictures = looks_of(path), look_at(read_frames(path))
    assert of_pictures.thumbs.min() < 8
    assert of_pictures.thumbs.max() > 245
    assert np.abs(of_file.thumbs.astype(int) - of_pictures.thumbs).max() <= 3


def test_a_films_looks_are_those_of_its_decoded_pictures(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", scene(6, 3), 16)
    of_file, of_pictures = looks_of(tmp_path / "a.mp4"), look_at(read_frames(tmp_path / "a.mp4"))
    assert np.abs(of_file.thumbs.astype(int) - of_pictures.thumbs).max() <= 4
    assert np.abs(of_file.motion.astype(float) - of_pictures.motion.astype(float)).max() < 3
    assert of_file.sharpness == pytest.approx(of_pictures.sharpness, rel=0.1)
