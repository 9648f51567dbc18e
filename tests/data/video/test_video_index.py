import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.data.encoding import write_frames
from worldtune.data.clip import read_clip
from worldtune.data.dataset import build_dataset, open_dataset
from worldtune.data.ledger import Row
from worldtune.data.spec import DataSpec
from worldtune.data.video.decode import read_frames, write_video
from worldtune.data.video.video_index import VideoInfo, index_video, measure_video, video_frame_features
from worldtune.data.windows import retime_uneven
from worldtune.errors import DataError

from ..videos import cosmos_folder, film, read_back, whole, write_reordered_video, write_uneven_video

ONE, MINUS = 1 << 16, (1 << 32) - (1 << 16)
TURNS = {90: (0, ONE, 0, MINUS, 0), 180: (MINUS, 0, 0, 0, MINUS), 270: (0, MINUS, 0, ONE, 0)}
"""The values a, b, u, c, d of the matrix that rotates clockwise (ISO/IEC 14496-12 §8.3.2)."""


def wide(length: int, tag: int = 0) -> np.ndarray:
    """Return uint8 (T, 64, 128, 3)."""
    return film(length, tag).repeat(2, 2)


def turn(path: Path, degrees: int) -> None:
    """Write into the track's header how far a player should rotate the video, as phones do."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    data[place : place + 20] = b"".join(number.to_bytes(4) for number in TURNS[degrees])
    path.write_bytes(data)


def spec(root: Path, frames: int = 8, **settings: object) -> DataSpec:
    size = {"fps": 16, "height": 64, "width": 64}
    return DataSpec.model_validate({"path": str(root), "frames": frames} | size | settings)


def uneven_folder(root: Path, times: Sequence[int], **more: int) -> Path:
    """Write a video with these frame times in 1/16 s, and others with as many frames at even times."""
    cosmos_folder(root, more)
    write_uneven_video(root / "videos/a.mp4", film(len(times)), times)
    (root / "metas/a.txt").write_text("the robot waits")
    return root


def rows_of(root: Path, name: str, **settings: object) -> list[Row]:
    return [row for row in build_dataset(spec(root, **settings)).ledger.rows if row.episode == name]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_video_is_rotated_as_its_metadata_say(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, wide(6, tag=5), 16)
    turn(path, degrees)
    height, width = (64, 128) if degrees == 180 else (128, 64)
    assert measure_video(path) == VideoInfo(6, 16.0, height, width, True, rotation=degrees)
    frames_THWC = np.stack(list(read_frames(path)))
    assert frames_THWC.shape == (6, height, width, 3)
    upright_THWC = np.rot90(frames_THWC, degrees // 90, axes=(1, 2))
    assert read_back(upright_THWC) == [(5, t) for t in range(6)]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_features_of_a_rotated_video_are_rotated(tmp_path: Path, degrees: int) -> None:
    write_video(tmp_path / "a.mp4", wide(4, tag=5), 16)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    turn(tmp_path / "b.mp4", degrees)
    upright, turned = (video_frame_features(tmp_path / name) for name in ("a.mp4", "b.mp4"))
    back = np.rot90(turned.thumbs, degrees // 90, axes=(1, 2)).astype(int)
    assert np.abs(back - upright.thumbs).max() <= 1
    assert np.abs(turned.thumbs.astype(int) - upright.thumbs).max() > 100


def test_ledger_notes_a_rotation(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    write_video(root / "videos/a.mp4", wide(8, tag=5), 16)
    turn(root / "videos/a.mp4", 90)
    dataset = open_dataset(spec(root, height=128))
    assert [row.note for row in dataset.ledger.rows] == ["rotated by 90°, as its metadata says"]
    (clip,) = dataset.train
    assert read_back(np.rot90(read_clip(clip), axes=(1, 2))) == [(5, t) for t in range(8)]


def test_rotation_by_45_degrees_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, wide(4), 16)
    data = bytearray(path.read_bytes())
    place, half = data.index(b"tkhd") + 44, round(0.7071 * ONE)
    data[place : place + 20] = b"".join(n.to_bytes(4) for n in (half, half, 0, (1 << 32) - half, half))
    path.write_bytes(data)
    with pytest.raises(DataError, match="rotates the video by -45°"):
        measure_video(path)


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.codec_context.layout = "mono"
        for number in range(4):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 16000, 1024 * number, Fraction(1, 16000)
            container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def test_non_videos_are_rows_with_reasons(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "empty": 8, "sound": 8})
    (root / "videos/empty.mp4").write_bytes(b"")
    write_sound(root / "videos/sound.mp4")
    assert {row.episode: row.reason for row in build_dataset(spec(root)).ledger.rows} == {
        "a": "",
        "empty": "the file is empty",
        "sound": "the file has no video stream",
    }
    with pytest.raises(DataError, match=r"2 of 3 recordings give no clip .* empty/video, sound/video"):
        open_dataset(spec(root))


def test_impossibly_low_frame_rate_is_an_error(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    film, sound = root / "videos/a.avi", root / "videos/a.mp4"
    write_frames(film, [np.zeros((64, 64, 3), np.uint8)] * 8, 16, "mpeg4")
    sound.unlink()
    data = bytearray(film.read_bytes())
    scale = data.index(b"vids") + 20  # AVISTREAMHEADER: dwScale / dwRate is the duration of a frame
    data[scale : scale + 4] = (2**28).to_bytes(4, "little")
    film.write_bytes(data)
    (row,) = build_dataset(spec(root)).ledger.rows
    assert row.reason == "the video claims 5.96e-08 frames per second"


def test_index_has_key_frames_and_times(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(7), 16)
    index = index_video(tmp_path / "a.mp4")
    assert index.keys.tolist() == [0, 2, 4, 6]
    assert index.times == pytest.approx(np.arange(7) / 16)
    assert [index.find_frame(int(stamp)) for stamp in index.stamps] == list(range(7))
    assert index.find_frame(int(index.stamps[1]) + 1) is None
    assert index.find_frame(None) is None


def test_index_of_reordered_frames_is_in_order_of_presentation(tmp_path: Path) -> None:
    write_reordered_video(tmp_path / "a.mp4", film(30), 20)
    index = index_video(tmp_path / "a.mp4")
    assert (np.diff(index.stamps) > 0).all()
    assert np.diff(index.times) == pytest.approx(1 / 20)
    assert index.info == VideoInfo(30, 20.0, 64, 64, True)


def test_frames_are_chosen_by_their_real_times(tmp_path: Path) -> None:
    times = [0, 1, 2, 4, 5, 6, 8, 10, 11, 12, 14]
    root = uneven_folder(tmp_path / "d", times)
    dataset = open_dataset(spec(root, fps=8))
    (clip,) = dataset.train
    assert list(clip.frame_indices) == [times.index(time) for time in (0, 2, 4, 6, 8, 10, 12, 14)]
    assert [number for _, number in read_back(read_clip(clip))] == list(clip.frame_indices)
    (row,) = dataset.ledger.rows
    assert row.note.startswith("frames unevenly spaced in time; retimed from ")
    assert row.note.endswith(" to 8 fps")
    assert index_video(root / "videos/a.mp4").times * 16 == pytest.approx(times)


def test_no_window_spans_a_gap_in_time(tmp_path: Path) -> None:
    """The gap between the first 20 and the other 24 frames is 40/16 s, longer than any window."""
    times = [*range(20), *range(60, 84)]
    root = uneven_folder(tmp_path / "d", times)
    found = rows_of(root, "a", stride=4)
    kept, skipped = ([row for row in found if row.kept == which] for which in (True, False))
    assert [row.first_frame for row in kept] == [0, 4, 8, 12, *range(20, 37, 4)]
    assert {row.reason for row in skipped} == {"timestamps jump (by 2.6 s after frame 19)"}
    for clip in open_dataset(spec(root, stride=4)).train:
        shown = [number for _, number in read_back(read_clip(clip))]
        assert shown == list(range(clip.frame_indices[0], clip.frame_indices[0] + 8))


@pytest.mark.parametrize("phase", range(8))
def test_no_window_covers_unrecorded_time(tmp_path: Path, phase: int) -> None:
    """A window may begin or end at a gap but not within it, for every phase of the grid of windows."""
    begin = 12 + phase
    times = [*range(begin), *range(begin + 21, begin + 45)]
    root = uneven_folder(tmp_path / "d", times)
    clips = open_dataset(spec(root, stride=3)).train
    assert {clip.frame_indices[0] < begin for clip in clips} == {True, False}
    for clip in clips:
        assert np.diff([times[pick] for pick in clip.frame_indices]).tolist() == [1] * 7


def test_gap_in_one_video_does_not_affect_others(tmp_path: Path) -> None:
    root = uneven_folder(tmp_path / "d", [0, 1, 2, 3, 40, 41, 42, 43], b=8)
    *over, rest = rows_of(root, "a")
    assert {row.reason for row in over} == {"timestamps jump (by 2.3 s after frame 3)"}
    assert rest.reason == "left over at the episode's end (4 of 8 frames)"
    assert [clip.name for clip in open_dataset(spec(root, max_skipped=0.5)).train] == ["b/video/0"]


def test_episode_with_a_gap_is_not_stretched(tmp_path: Path) -> None:
    root = uneven_folder(tmp_path / "d", [*range(10), *range(50, 60)])
    (row,) = rows_of(root, "a", windows="whole")
    assert row.reason == "timestamps jump (by 2.6 s after frame 9)"


def test_whole_uneven_episode_is_stretched_by_its_times(tmp_path: Path) -> None:
    times = [*range(12), 13, 15, 17, 19, 21, 23, 25, 27, 28]
    root = uneven_folder(tmp_path / "d", times)
    dataset = open_dataset(spec(root, windows="whole"))
    (clip,) = dataset.train
    assert [times[pick] for pick in clip.frame_indices] == pytest.approx(np.linspace(0, 28, 8), abs=1)
    assert (clip.frame_indices[0], clip.frame_indices[-1]) == (0, 20)
    assert dataset.ledger.rows[0].speed == pytest.approx(28 / 7)


def test_windows_of_an_uneven_video_begin_at_different_frames(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    root = uneven_folder(tmp_path / "d", times)
    found = rows_of(root, "a", stride=1)
    starts = [row.first_frame for row in found if row.kept]
    assert len(set(starts)) == len(starts)
    assert [row.reason for row in found if not row.kept] == ["begins at the same frame as another window"] * (
        len(found) - len(starts)
    )
    assert len(found) == len(retime_uneven(np.array(times) / 16, 16)) - 7


def test_uneven_times_cannot_be_retimed_exactly(tmp_path: Path) -> None:
    root = uneven_folder(tmp_path / "d", [0, 1, 2, 4, 5, 6, 8, 10, 11, 12], b=10)
    reasons = {
        row.episode: row.reason for row in build_dataset(spec(root, retime="exact")).ledger.rows if row.frames > 7
    }
    assert reasons == {"a": "frames unevenly spaced in time cannot be retimed to 16 fps exactly", "b": ""}


def test_non_utf8_video_metadata_is_accepted(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(9), 16)
    content = (tmp_path / "a.mp4").read_bytes()
    assert b"Lavf" in content
    (tmp_path / "a.mp4").write_bytes(content.replace(b"Lavf", b"La\xf2\xff"))
    assert measure_video(tmp_path / "a.mp4").frames == 9
    assert read_back(read_clip(whole(tmp_path / "a.mp4", 9))) == [(0, t) for t in range(9)]


def test_box_of_impossible_size_is_an_error(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(9), 16)
    with (tmp_path / "a.mp4").open("ab") as file:
        file.write(b"\0\0\0\1free" + b"\xff" * 8 + bytes(32))
    with pytest.raises(DataError, match="cut short"):
        measure_video(tmp_path / "a.mp4")
