import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from worldtune.episodes.clip import read_clip
from worldtune.episodes.dataset import open_dataset, take_stock
from worldtune.episodes.ledger import Row
from worldtune.episodes.scan import VideoFacts, looks_of, measure, scan
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.video import read_frames, write_video
from worldtune.episodes.windows import retime_by
from worldtune.errors import DataError

from .films import cosmos_folder, film, read_back, whole, write_reordered_video, write_uneven_video

ONE, MINUS = 1 << 16, (1 << 32) - (1 << 16)
TURNS = {90: (0, ONE, 0, MINUS, 0), 180: (MINUS, 0, 0, 0, MINUS), 270: (0, MINUS, 0, ONE, 0)}
"""a, b, u, c, d of the matrix that turns a picture clockwise (ISO/IEC 14496-12 §8.3.2)."""


def wide(length: int, tag: int = 0) -> np.ndarray:
    """uint8 (T, 64, 128, 3)."""
    return film(length, tag).repeat(2, 2)


def turn(path: Path, degrees: int) -> None:
    """Write into the track's header by how much a player should turn the picture, as a telephone does."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    data[place : place + 20] = b"".join(number.to_bytes(4) for number in TURNS[degrees])
    path.write_bytes(data)


def spec(root: Path, frames: int = 8, **settings: object) -> DataSpec:
    size = {"fps": 16, "height": 64, "width": 64}
    return DataSpec.model_validate({"path": str(root), "frames": frames} | size | settings)


def uneven_folder(root: Path, times: Sequence[int], **more: int) -> Path:
    """A folder with a film of these times, in sixteenths of a second, and others with as many frames at even times."""
    cosmos_folder(root, more)
    write_uneven_video(root / "videos/a.mp4", film(len(times)), times)
    (root / "metas/a.txt").write_text("the robot waits")
    return root


def rows_of(root: Path, name: str, **settings: object) -> list[Row]:
    return [row for row in take_stock(spec(root, **settings)).ledger.rows if row.episode == name]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_picture_is_turned_as_its_metadata_say(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, wide(6, tag=5), 16)
    turn(path, degrees)
    height, width = (64, 128) if degrees == 180 else (128, 64)
    assert measure(path) == VideoFacts(6, 16.0, height, width, True, turned=degrees)
    frames_THWC = np.stack(list(read_frames(path)))
    assert frames_THWC.shape == (6, height, width, 3)
    upright_THWC = np.rot90(frames_THWC, degrees // 90, axes=(1, 2))
    assert read_back(upright_THWC) == [(5, t) for t in range(6)]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_what_is_seen_of_a_turned_picture_is_turned_too(tmp_path: Path, degrees: int) -> None:
    write_video(tmp_path / "a.mp4", wide(4, tag=5), 16)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    turn(tmp_path / "b.mp4", degrees)
    upright, turned = (looks_of(tmp_path / name) for name in ("a.mp4", "b.mp4"))
    back = np.rot90(turned.thumbs, degrees // 90, axes=(1, 2)).astype(int)
    assert np.abs(back - upright.thumbs).max() <= 1
    assert np.abs(turned.thumbs.astype(int) - upright.thumbs).max() > 100


def test_the_ledger_says_that_a_picture_was_turned(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    write_video(root / "videos/a.mp4", wide(8, tag=5), 16)
    turn(root / "videos/a.mp4", 90)
    dataset = open_dataset(spec(root, height=128))
    assert [row.note for row in dataset.ledger.rows] == ["turned by 90°, as its metadata say"]
    (clip,) = dataset.train
    assert read_back(np.rot90(read_clip(clip), axes=(1, 2))) == [(5, t) for t in range(8)]


def test_a_picture_that_is_turned_askew_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, wide(4), 16)
    data = bytearray(path.read_bytes())
    place, half = data.index(b"tkhd") + 44, round(0.7071 * ONE)
    data[place : place + 20] = b"".join(n.to_bytes(4) for n in (half, half, 0, (1 << 32) - half, half))
    path.write_bytes(data)
    with pytest.raises(DataError, match="turn the picture by -45°"):
        measure(path)


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.codec_context.layout = "mono"
        for number in range(4):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 16000, 1024 * number, Fraction(1, 16000)
            container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def test_files_that_are_no_film_are_rows_with_reasons(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "empty": 8, "sound": 8})
    (root / "videos/empty.mp4").write_bytes(b"")
    write_sound(root / "videos/sound.mp4")
    assert {row.episode: row.reason for row in take_stock(spec(root)).ledger.rows} == {
        "a": "",
        "empty": "the file is empty",
        "sound": "the file has no video stream",
    }
    with pytest.raises(DataError, match=r"2 of 3 recordings give no clip .* empty/video, sound/video"):
        open_dataset(spec(root))


def test_a_scan_knows_where_a_decoder_can_begin(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(7), 16)
    seen = scan(tmp_path / "a.mp4")
    assert seen.keys.tolist() == [0, 2, 4, 6]
    assert seen.times == pytest.approx(np.arange(7) / 16)
    assert [seen.number(int(stamp)) for stamp in seen.stamps] == list(range(7))
    assert seen.number(int(seen.stamps[1]) + 1) is None
    assert seen.number(None) is None


def test_a_scan_of_reordered_frames_is_in_order_of_presentation(tmp_path: Path) -> None:
    write_reordered_video(tmp_path / "a.mp4", film(30), 20)
    seen = scan(tmp_path / "a.mp4")
    assert (np.diff(seen.stamps) > 0).all()
    assert np.diff(seen.times) == pytest.approx(1 / 20)
    assert seen.facts == VideoFacts(30, 20.0, 64, 64, True)


def test_frames_are_picked_by_their_real_times(tmp_path: Path) -> None:
    times = [0, 1, 2, 4, 5, 6, 8, 10, 11, 12, 14]
    root = uneven_folder(tmp_path / "d", times)
    dataset = open_dataset(spec(root, fps=8))
    (clip,) = dataset.train
    assert list(clip.picks) == [times.index(time) for time in (0, 2, 4, 6, 8, 10, 12, 14)]
    assert [number for _, number in read_back(read_clip(clip))] == list(clip.picks)
    (row,) = dataset.ledger.rows
    assert row.note.startswith("frames not evenly spaced in time; retimed from ")
    assert row.note.endswith(" to 8 fps")
    assert scan(root / "videos/a.mp4").times * 16 == pytest.approx(times)


def test_no_window_goes_over_a_jump_in_time(tmp_path: Path) -> None:
    """Between the first 20 frames and the other 24 lie 40 sixteenths of a second, more than any window."""
    times = [*range(20), *range(60, 84)]
    root = uneven_folder(tmp_path / "d", times)
    found = rows_of(root, "a", stride=4)
    kept, lost = ([row for row in found if row.kept == which] for which in (True, False))
    assert [row.first_frame for row in kept] == [0, 4, 8, 12, *range(20, 37, 4)]
    assert {row.reason for row in lost} == {"time stamps jump (by 2.6 s after frame 19)"}
    for clip in open_dataset(spec(root, stride=4)).train:
        shown = [number for _, number in read_back(read_clip(clip))]
        assert shown == list(range(clip.picks[0], clip.picks[0] + 8))


@pytest.mark.parametrize("phase", range(8))
def test_no_frame_stands_for_time_that_was_not_recorded(tmp_path: Path, phase: int) -> None:
    """A window may begin or end beside a jump, but not within it, wherever the grid of windows lies."""
    begin = 12 + phase
    times = [*range(begin), *range(begin + 21, begin + 45)]
    root = uneven_folder(tmp_path / "d", times)
    clips = open_dataset(spec(root, stride=3)).train
    assert {clip.picks[0] < begin for clip in clips} == {True, False}
    for clip in clips:
        assert np.diff([times[pick] for pick in clip.picks]).tolist() == [1] * 7


def test_a_jump_in_one_film_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    root = uneven_folder(tmp_path / "d", [0, 1, 2, 3, 40, 41, 42, 43], b=8)
    *over, rest = rows_of(root, "a")
    assert {row.reason for row in over} == {"time stamps jump (by 2.3 s after frame 3)"}
    assert rest.reason == "left over at the episode's end (4 of 8 frames)"
    assert [clip.name for clip in open_dataset(spec(root, max_loss=0.5)).train] == ["b/video/0"]


def test_an_episode_with_a_jump_is_not_stretched(tmp_path: Path) -> None:
    root = uneven_folder(tmp_path / "d", [*range(10), *range(50, 60)])
    (row,) = rows_of(root, "a", windows="whole")
    assert row.reason == "time stamps jump (by 2.6 s after frame 9)"


def test_a_whole_uneven_episode_is_stretched_by_its_times(tmp_path: Path) -> None:
    times = [*range(12), 13, 15, 17, 19, 21, 23, 25, 27, 28]
    root = uneven_folder(tmp_path / "d", times)
    dataset = open_dataset(spec(root, windows="whole"))
    (clip,) = dataset.train
    assert [times[pick] for pick in clip.picks] == pytest.approx(np.linspace(0, 28, 8), abs=1)
    assert (clip.picks[0], clip.picks[-1]) == (0, 20)
    assert dataset.ledger.rows[0].speed == pytest.approx(28 / 7)


def test_two_windows_of_an_uneven_film_never_begin_at_the_same_frame(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    root = uneven_folder(tmp_path / "d", times)
    found = rows_of(root, "a", stride=1)
    starts = [row.first_frame for row in found if row.kept]
    assert len(set(starts)) == len(starts)
    assert [row.reason for row in found if not row.kept] == ["begins at the same frame as another window"] * (
        len(found) - len(starts)
    )
    assert len(found) == len(retime_by(np.array(times) / 16, 16)) - 7


def test_uneven_times_cannot_be_retimed_exactly(tmp_path: Path) -> None:
    root = uneven_folder(tmp_path / "d", [0, 1, 2, 4, 5, 6, 8, 10, 11, 12], b=10)
    reasons = {row.episode: row.reason for row in take_stock(spec(root, retime="exact")).ledger.rows if row.frames > 7}
    assert reasons == {"a": "frames not evenly spaced in time cannot be made 16 fps exactly", "b": ""}


def test_metadata_that_are_no_utf_8_are_no_fault(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(9), 16)
    content = (tmp_path / "a.mp4").read_bytes()
    assert b"Lavf" in content
    (tmp_path / "a.mp4").write_bytes(content.replace(b"Lavf", b"La\xf2\xff"))
    assert measure(tmp_path / "a.mp4").frames == 9
    assert read_back(read_clip(whole(tmp_path / "a.mp4", 9))) == [(0, t) for t in range(9)]


def test_a_box_of_impossible_size_is_a_video_cut_short(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(9), 16)
    with (tmp_path / "a.mp4").open("ab") as file:
        file.write(b"\0\0\0\1free" + b"\xff" * 8 + bytes(32))
    with pytest.raises(DataError, match="cut short"):
        measure(tmp_path / "a.mp4")
