from pathlib import Path

import pytest

from worldtune.episodes.clip import read_clip
from worldtune.episodes.episode import Episode, Lost
from worldtune.episodes.sources import choose_cameras, open_source
from worldtune.errors import DataError

from ..films import cosmos_folder, film, read_back, truncate, whole, write_uneven_video


def test_a_cosmos_folder_is_recognised_and_read(tmp_path: Path) -> None:
    source = open_source(str(cosmos_folder(tmp_path / "d", {"push": 12, "lift": 9}, fps=12.5)))
    assert (source.kind, source.cameras, source.tasks) == ("Cosmos folder", ["video"], [])
    lift, push = source.recordings(["video"])
    assert isinstance(lift, Episode)
    assert isinstance(push, Episode)
    assert (lift.name, lift.task, lift.caption) == ("lift", "", "the robot does lift")
    assert (push.frames, push.fps, push.height, push.width) == (12, 12.5, 64, 64)
    assert read_back(read_clip(whole(push.footage.video, 12))) == [(0, t) for t in range(12)]
    assert source.problems() == []


def test_a_truncated_video_is_lost_with_its_reason(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 12, "lift": 9})
    truncate(root / "videos/push.mp4")
    source = open_source(str(root))
    _, push = source.recordings(["video"])
    assert isinstance(push, Lost)
    assert push.reason.startswith("the video is cut short (")
    assert [problem.where for problem in source.problems()] == ["videos/push.mp4"]


def test_missing_and_empty_captions_are_problems(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 3, "lift": 3})
    (root / "metas/push.txt").unlink()
    (root / "metas/lift.txt").write_text(" \n")
    (root / "metas/old.txt").write_text("a caption")
    source = open_source(str(root))
    *there, old = source.recordings(["video"])
    assert [recording.caption for recording in there] == ["", ""]
    assert old == Lost("metas/old.txt", "video", "", "", 0, None, "a caption without a video")
    assert [(problem.where, problem.what) for problem in source.problems()] == [
        ("metas/old.txt", "a caption without a video"),
        ("videos/lift.mp4", "no caption in metas/lift.txt"),
        ("videos/push.mp4", "no caption in metas/push.txt"),
    ]


def test_a_caption_that_is_no_text_is_refused(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 3})
    (root / "metas/push.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"not UTF-8.*push\.txt"):
        list(open_source(str(root)).recordings(["video"]))


def test_uneven_frame_times_are_told(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 3})
    write_uneven_video(root / "videos/push.mp4", film(4), [0, 1, 9, 10])
    source = open_source(str(root))
    (push,) = source.recordings(["video"])
    assert isinstance(push, Episode)
    assert push.note == "frames not evenly spaced in time"
    assert [problem.what for problem in source.problems()] == ["its frames are not evenly spaced in time"]


@pytest.mark.parametrize("made", [(), ("videos",), ("videos", "metas"), ("meta",)])
def test_a_folder_of_no_known_kind_is_refused(tmp_path: Path, made: tuple[str, ...]) -> None:
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="no dataset of a known kind: LeRobot"):
        open_source(str(tmp_path))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(str(tmp_path / "gone"))


def test_an_unknown_camera_is_refused_with_those_there_are(tmp_path: Path) -> None:
    source = open_source(str(cosmos_folder(tmp_path / "d", {"push": 3})))
    with pytest.raises(DataError, match=r"no camera top.*Cameras there: video\."):
        choose_cameras(source, ["top"])


def test_what_is_no_mp4_is_lost_not_overlooked(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 3, "lift": 3})
    (root / "videos/push.mp4").rename(root / "videos/push.MP4")
    (root / "videos/old.mov").write_bytes(b"")
    (root / "videos/session2").mkdir()
    source = open_source(str(root))
    assert source.count == 4
    found = {r.name: r.reason if isinstance(r, Lost) else "" for r in source.recordings(["video"])}
    unread = "not read: only videos/*.mp4 is"
    assert found == {"lift": "", "push": "", "videos/old.mov": unread, "videos/session2": unread}
