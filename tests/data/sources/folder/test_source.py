from pathlib import Path
from typing import Any

import av
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.sources import choose_cameras, open_source
from worldtune.data.video.decode import write_video
from worldtune.errors import DataError

from ...reading import build, recordings, reported
from ...videos import cosmos_folder, film, read_back, truncate, whole, write_container, write_uneven_video


def test_cosmos_folder_is_recognized_and_read(tmp_path: Path) -> None:
    source = open_source(str(cosmos_folder(tmp_path / "d", {"push": 12, "lift": 9}, fps=12.5)))
    assert (source.kind, source.cameras, source.tasks) == ("Cosmos folder", ["video"], [])
    lift, push = source.recordings(["video"])
    assert isinstance(lift, Episode)
    assert isinstance(push, Episode)
    assert (lift.name, lift.task, lift.caption) == ("lift", "", "the robot does lift")
    assert (push.frames, push.fps, push.height, push.width) == (12, 12.5, 64, 64)
    assert read_back(read_clip(whole(push.footage.video, 12))) == [(0, t) for t in range(12)]
    assert source.problems() == []


def test_truncated_video_is_skipped_with_its_reason(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 12, "lift": 9})
    truncate(root / "videos/push.mp4")
    source = open_source(str(root))
    _, push = source.recordings(["video"])
    assert isinstance(push, SkippedRecording)
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
    assert old == SkippedRecording("metas/old.txt", "video", "", "", 0, None, "a caption without a video")
    assert [(problem.where, problem.what) for problem in source.problems()] == [
        ("metas/old.txt", "a caption without a video"),
        ("videos/lift.mp4", "no caption in metas/lift.txt"),
        ("videos/push.mp4", "no caption in metas/push.txt"),
    ]


def test_uneven_frame_times_are_reported(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 3})
    write_uneven_video(root / "videos/push.mp4", film(4), [0, 1, 9, 10])
    source = open_source(str(root))
    (push,) = source.recordings(["video"])
    assert isinstance(push, Episode)
    assert push.note == "frames unevenly spaced in time"
    assert [problem.what for problem in source.problems()] == ["its frames are unevenly spaced in time"]


@pytest.mark.parametrize("made", [(), ("videos",), ("videos", "metas"), ("meta",)])
def test_folder_of_unknown_kind_is_an_error(tmp_path: Path, made: tuple[str, ...]) -> None:
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="not a dataset in a known format: LeRobot"):
        open_source(str(tmp_path))


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(str(tmp_path / "gone"))


def test_unknown_camera_error_lists_available_cameras(tmp_path: Path) -> None:
    source = open_source(str(cosmos_folder(tmp_path / "d", {"push": 3})))
    with pytest.raises(DataError, match=r"no camera top.*Available cameras: video\."):
        choose_cameras(source, ["top"])


def test_non_video_is_a_warning(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 3, "lift": 3})
    (root / "videos/push.mp4").rename(root / "videos/push.MP4")
    (root / "videos/session2").mkdir()
    for name in ("Thumbs.db", "README.md", "push.jpg", "lift.jpg", ".DS_Store", "._push.mp4"):
        (root / "videos" / name).write_bytes(b"x")
    (root / "videos/.secret.mp4").write_bytes(b"x")
    (root / "metas/push.md").write_text("x")
    (root / "intro.mp4").write_bytes(b"x")
    source = open_source(str(root))
    assert {r.name: isinstance(r, Episode) for r in source.recordings(["video"])} == {"lift": True, "push": True}
    assert {problem.where: problem.what for problem in source.problems()} == {
        "videos/README.md, videos/Thumbs.db, videos/lift.jpg and 1 more": "not read: not a video",
        "videos/.secret.mp4": "not read: a hidden video",
        "videos/session2": "not read: a folder without videos",
        "intro.mp4": "not read: a video outside of videos/",
        "metas/push.md": "not read: not a caption",
    }


CONTAINERS = [
    ("mov", "libx264"),
    ("MKV", "libx264"),
    ("webm", "libvpx-vp9"),
    ("avi", "mpeg4"),
    ("M4V", "libx264"),
    ("MP4", "libx264"),
]


@pytest.mark.parametrize(("ending", "codec"), CONTAINERS)
def test_every_container_is_read_as_pyav_reads_it(tmp_path: Path, ending: str, codec: str) -> None:
    path = tmp_path / f"GH01.{ending}"
    write_container(path, film(40), 24, codec)
    (tmp_path / "GH01.txt").write_text("the robot lifts it")
    (found,) = open_source(str(tmp_path)).recordings(["video"])
    assert isinstance(found, Episode), found
    assert (found.name, found.caption, found.frames, found.fps) == ("GH01", "the robot lifts it", 40, 24)
    with av.open(str(path)) as container:
        build = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frame_indices = [0, 7, 23, 39]
    shown = dict(found.footage.frames(frame_indices))
    assert all((shown[pick] == build[pick]).all() for pick in frame_indices)


@pytest.mark.parametrize(("ending", "codec"), CONTAINERS)
def test_every_truncated_container_is_skipped(tmp_path: Path, ending: str, codec: str) -> None:
    write_container(tmp_path / f"a.{ending}", film(40), 24, codec)
    truncate(tmp_path / f"a.{ending}")
    (found,) = open_source(str(tmp_path)).recordings(["video"])
    assert isinstance(found, SkippedRecording)
    assert found.reason.startswith("the video is cut short (")


def test_unsupported_container_skips_only_itself(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 3})
    (root / "videos/old.wmv").write_bytes(b"0&\xb2u\x8ef\xcf\x11")
    found = {
        r.name: r.reason if isinstance(r, SkippedRecording) else ""
        for r in open_source(str(root)).recordings(["video"])
    }
    assert found == {"old": "the video is not an MP4, QuickTime, Matroska, WebM or AVI file", "push": ""}


def test_two_containers_with_one_name_are_a_warning(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "b": 8})
    write_container(root / "videos/a.mov", film(8, tag=9), 16, "libx264")
    source = open_source(str(root))
    assert [(r.name, r.caption) for r in source.recordings(["video"])] == [
        ("a.mov", "the robot does a"),
        ("a.mp4", "the robot does a"),
        ("b", "the robot does b"),
    ]
    (problem,) = source.problems()
    assert (problem.where, problem.what[:23]) == ("videos/a.mov, videos/a.mp4", "they have the same name")


def by_camera(root: Path, *names: str) -> Path:
    for tag, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, film(8, tag), 16)
    return root


def sides(root: Path, **settings: Any) -> dict[str, set[str]]:
    """Return the splits of each episode."""
    found: dict[str, set[str]] = {}
    for row in build(root, caption="a robot", held_out=0.5, **settings).ledger.rows:
        found.setdefault(row.episode, set()).add(row.split)
    return found


def test_folders_in_videos_are_cameras_of_one_recording(tmp_path: Path) -> None:
    names = [f"videos/{camera}/{episode}.mp4" for camera in ("front", "wrist") for episode in "abcd"]
    root = by_camera(tmp_path / "d", *names)
    (root / "metas/wrist").mkdir(parents=True)
    (root / "metas/a.txt").write_text("it lifts")
    (root / "metas/wrist/a.txt").write_text("it lifts, from near")
    source = open_source(str(root))
    assert (source.cameras, source.count) == (["front", "wrist"], 4)
    first, second, *_ = source.recordings(["front", "wrist"])
    assert [(r.name, r.camera, r.caption) for r in (first, second)] == [
        ("a", "front", "it lifts"),
        ("a", "wrist", "it lifts, from near"),
    ]
    assert all(len(its) == 1 for its in sides(root).values())
    (root / "videos/wrist/c.mp4").unlink()
    assert ("warning", "c", "no video by camera wrist") in reported(root)
    tile = build(root, caption="a robot", tile=[["front", "wrist"]])
    assert {row.episode: row.reason for row in tile.ledger.rows} == {
        **dict.fromkeys("abd", ""),
        "c": "no video by camera wrist",
    }


def test_video_folders_without_common_names_are_all_read(tmp_path: Path) -> None:
    root = by_camera(tmp_path / "d", "videos/monday/a.mp4", "videos/monday/b.mp4", "videos/friday/c.mp4")
    assert {name: bool(its - {""}) for name, its in sides(root).items()} == dict.fromkeys("abc", True)
    assert [problem for problem in reported(root) if "no caption" not in problem[2]] == []


def test_table_groups_videos_by_episode(tmp_path: Path) -> None:
    root = by_camera(tmp_path / "d", *(f"{n}.mp4" for n in range(8)))
    rows = [f"{n},it lifts,{n // 2},{('wrist', 'front')[n % 2]}" for n in range(8)]
    (root / "metadata.csv").write_text("\n".join(["video,prompt,episode,camera", *rows]))
    assert open_source(str(root)).cameras == ["front", "wrist"]
    assert {name: len(its) for name, its in sides(root).items()} == dict.fromkeys("0123", 1)
    (root / "metadata.csv").write_text("\n".join(["video,prompt,episode", *(row.rsplit(",", 1)[0] for row in rows)]))
    with pytest.raises(DataError, match=r"row 3 names episode 0 again.*Name the camera of each view"):
        open_source(str(root))


@pytest.mark.parametrize(
    "names", [("{}_front", "{}_wrist"), ("ep{}_left", "ep{}_right"), ("cam0-{}", "cam1-{}"), ("{}_cam_high", "{}_top")]
)
def test_names_that_differ_by_a_camera_are_a_fault(tmp_path: Path, names: tuple[str, str]) -> None:
    root = by_camera(tmp_path / "d", *(f"{name.format(n)}.mp4" for n in range(1, 5) for name in names))
    fault = next(fault for fault in build(root, caption="a robot", held_out=0.5).faults if "two views" in fault.message)
    views = open_source(str(root)).available_cameras[1:]
    assert f"Set data.cameras=[{', '.join(views)}] if they are cameras of one recording" in fault.hint
    assert not build(root, caption="a robot").faults  # nothing is held out
    assert all(len(its) == 1 for its in sides(root, cameras=views).values())
    assert len(sides(root, cameras=views)) == 4
    apart = build(root, caption="a robot", held_out=0.5, cameras=["video"])
    assert (len(apart.clips), apart.faults) == (8, [])


def test_independent_videos_are_not_asked_about(tmp_path: Path) -> None:
    names = ["turn_left_1", "turn_right_1", "turn_left_2", "turn_right_2", "front_door", "lift"]
    root = by_camera(tmp_path / "d", *(f"{name}.mp4" for name in names))
    assert not build(root, caption="a robot", held_out=0.5).faults


def test_unreadable_caption_skips_only_its_recording(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", dict.fromkeys("abcde", 8))
    (root / "metas/a.txt").write_bytes("the robot’s arm".encode("cp1252"))
    (root / "metas/b.txt").write_bytes("\ufeffthe robot’s arm".encode())
    (root / "metas/c.txt").write_text("the robot’s arm", encoding="utf-16")
    (root / "metas/d.txt").write_bytes(b"\xff\xfe\x00")
    (root / "metas/e.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    message = "its caption cannot be read:"
    assert {r.name: r.reason if isinstance(r, SkippedRecording) else r.caption for r in recordings(root)} == {
        "a": f"{message} not UTF-8 text: it looks like Windows-1252, save it as UTF-8 (metas/a.txt)",
        "b": "the robot’s arm",
        "c": "the robot’s arm",
        "d": f"{message} not UTF-8 text (metas/d.txt)",
        "e": f"{message} a Git LFS pointer, not the file itself: run `git lfs pull` (metas/e.txt)",
    }
    assert {where for level, where, _ in reported(root)} == {"videos/a.mp4", "videos/d.mp4", "videos/e.mp4"}
