from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from worldtune.data.video.decode import read_frames, write_video
from worldtune.data.video.frame_features import FrameFeatures, extract_frame_features
from worldtune.data.video.video_index import video_frame_features

from ..scenes import HEIGHT, WIDTH, scene, still, write_compressed
from ..videos import film

LENGTHS = st.integers(0, 6)


@st.composite
def frame_features(draw: st.DrawFn) -> FrameFeatures:
    T = draw(LENGTHS)
    thumbs = draw(arrays(np.uint8, (T, 16, 16)))
    sharpness = draw(arrays(np.float32, T, elements=st.floats(0, 65536, width=32)))
    motion = draw(arrays(np.float16, (T, 8, 8), elements=st.floats(0, 255, width=16)))
    return FrameFeatures(thumbs, sharpness, motion, draw(arrays(np.uint8, (T, 2, 8, 8))))


def same(one: FrameFeatures, other: FrameFeatures) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("thumbs", "sharpness", "motion", "colors")]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@given(frame_features())
def test_frame_features_round_trip(features: FrameFeatures) -> None:
    assert same(FrameFeatures.from_bytes(features.to_bytes()), features)


@given(frame_features(), st.integers(0, 6), st.integers(0, 6))
def test_first_frame_of_a_selection_has_no_motion(features: FrameFeatures, start: int, frames: int) -> None:
    part, its = features.select(start, frames), slice(start, start + frames)
    assert np.array_equal(part.thumbs, features.thumbs[its])
    assert np.array_equal(part.sharpness, features.sharpness[its])
    assert not part.motion[:1].any()
    assert np.array_equal(part.motion[1:], features.motion[its][1:])


def test_selection_does_not_change_the_whole(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", scene(4, 1), 16)
    features = video_frame_features(tmp_path / "a.mp4")
    features.select(2, 2)
    assert features.motion[2].any()


@pytest.mark.parametrize("crf", [18, 28])
def test_fixed_camera_is_not_static(tmp_path: Path, crf: int) -> None:
    """A square of 8×8 pixels, 1 % of the image, moves back and forth in a noisy recording."""
    frames_THWC = scene(12, 1, side=8)
    features = video_frame_features(write_compressed(tmp_path / "a.mp4", frames_THWC, crf))
    most, middle = features.motion[1:].max((1, 2)), np.median(features.motion[1:], axis=(1, 2))
    assert (most > 10).all()
    assert (most > 5 * middle).all()
    changed = np.abs(np.diff(frames_THWC.astype(int), axis=0)).sum(3)
    by_patch = changed.reshape(-1, 8, HEIGHT // 8, 8, WIDTH // 8).sum((2, 4))
    where = features.motion[1:].reshape(11, -1).argmax(1)
    assert (by_patch.reshape(11, -1)[np.arange(11), where] > 0.5 * by_patch.max((1, 2))).all()


@pytest.mark.parametrize("crf", [18, 28])
def test_noise_and_key_frames_are_not_motion(tmp_path: Path, crf: int) -> None:
    features = video_frame_features(write_compressed(tmp_path / "a.mp4", still(30), crf))
    assert features.motion.max() < 5
    assert np.median(np.ptp(features.thumbs.astype(int), axis=0)) <= 2


def test_motion_is_measured_per_step(tmp_path: Path) -> None:
    frames_THWC = np.zeros((4, 64, 64, 3), np.uint8)
    frames_THWC[2, 8:16, 24:32] = 200
    features = extract_frame_features(frames_THWC)
    expected = np.zeros((4, 8, 8))
    expected[2:, 1, 3] = 200
    assert np.array_equal(features.motion, expected)


def test_thumbnails_and_brightness_match_the_image(tmp_path: Path) -> None:
    frames_THWC = np.full((2, 96, 128, 3), 20, np.uint8)
    frames_THWC[1, :, 64:] = 220
    features = extract_frame_features(frames_THWC)
    assert features.thumbs.shape == (2, 16, 16)
    assert (features.thumbs[1, :, :8] == 20).all()
    assert (features.thumbs[1, :, 8:] == 220).all()
    assert features.brightness.tolist() == [20, 120]


def test_soft_image_is_less_sharp_at_any_size() -> None:
    for factor in (1, 4):
        sharp = np.kron(film(1, 90, 165)[0], np.ones((factor, factor, 1), np.uint8))
        soft = cv2.GaussianBlur(sharp, (0, 0), 2 * factor)
        features = extract_frame_features([sharp, soft])
        assert features.sharpness[1] < 0.2 * features.sharpness[0]


def test_finer_detail_than_the_measured_size_is_not_sharpness() -> None:
    fine_HW = (200 * (np.indices((384, 512)).sum(0) % 2)).astype(np.uint8)
    assert extract_frame_features([fine_HW[..., None].repeat(3, 2)]).sharpness[0] < 1


def ramp() -> np.ndarray:
    """Return uint8 (3, 64, 64, 3): gray from black at the left to white at the right."""
    gray_W = np.linspace(0, 255, 64).astype(np.uint8)
    return np.broadcast_to(gray_W[None, None, :, None], (3, 64, 64, 3)).copy()


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
def test_the_luma_of_a_file_is_the_gray_of_its_images(tmp_path: Path, codec: str, kind: str, whole_range: bool) -> None:
    path = write_as(tmp_path / "a.mp4", ramp(), codec, kind, whole_range)
    of_file, of_pictures = video_frame_features(path), extract_frame_features(read_frames(path))
    assert of_pictures.thumbs.min() < 8
    assert of_pictures.thumbs.max() > 245
    assert np.abs(of_file.thumbs.astype(int) - of_pictures.thumbs).max() <= 3


def test_video_features_equal_those_of_decoded_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", scene(6, 3), 16)
    of_file, of_pictures = (
        video_frame_features(tmp_path / "a.mp4"),
        extract_frame_features(read_frames(tmp_path / "a.mp4")),
    )
    assert np.abs(of_file.thumbs.astype(int) - of_pictures.thumbs).max() <= 4
    assert np.abs(of_file.motion.astype(float) - of_pictures.motion.astype(float)).max() < 3
    assert of_file.sharpness == pytest.approx(of_pictures.sharpness, rel=0.1)
