import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.episode import Episode
from worldtune.data.sources import open_source
from worldtune.errors import DataError

from ...bag_files import ROS2, picture, shot, write_bag
from ...reading import build, episode, numbers, recordings, skipped
from ...videos import film, read_back, truncate


def test_clip_shows_its_frame_indices(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", {"/cam": shot(film(40), 32)})
    clips = build(path, caption="a robot").train
    assert [read_back(read_clip(clip)) for clip in clips] == [
        [(0, pick) for pick in clip.frame_indices] for clip in clips
    ]
    assert [clip.frame_indices for clip in clips] == [tuple(range(0, 16, 2)), tuple(range(16, 32, 2))]


def test_two_topics_are_tiled(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", {"/a": shot(film(20)), "/b": shot(film(20, 1), 16, 0.25)})
    first, *_ = build(path, caption="a robot", tile=[["/a", "/b"]], width=128).train
    shown_THWC = read_clip(first)
    assert first.camera == "/a+/b"
    assert read_back(shown_THWC[:, :, :64]) == [(0, t) for t in range(4, 12)]
    assert read_back(shown_THWC[:, :, 64:]) == [(1, t) for t in range(8)]


def test_unread_topic_is_a_warning(tmp_path: Path) -> None:
    types = ROS2.types
    text = types["std_msgs/msg/String"]("hello")
    region = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 4, 4, False)
    raw = picture(film(1)[0], "rgb8")
    disparity = types["stereo_msgs/msg/DisparityImage"](raw.header, raw, 1, 1, region, 0, 1, 1)
    topics = {"/cam": shot(film(4)), "/chat": [(0, text)], "/stereo": [(0, disparity)]}
    source = open_source(str(write_bag(tmp_path / "run", topics)))
    assert source.cameras == ["/cam"]
    (problem,) = source.problems()
    what = "/stereo is not read: stereo_msgs/msg/DisparityImage is not a sensor_msgs Image or CompressedImage"
    assert (problem.level, problem.where, problem.what, problem.camera) == ("warning", "run", what, "/stereo")


def test_damaged_recording_is_skipped_and_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("cut.mcap", "fine.mcap", "unfinished", "gone", "rotten.bag"):
        write_bag(tmp_path / "d" / name, {"/cam": shot(film(9))})
    write_bag(tmp_path / "d/x.mcap", {"/cam": shot(film(9))}).rename(tmp_path / os.fsdecode(b"d/\xff.mcap"))
    (tmp_path / "d/link.mcap").symlink_to("nowhere")
    truncate(tmp_path / "d/cut.mcap")
    truncate(tmp_path / "d/rotten.bag")
    (tmp_path / "d/unfinished/metadata.yaml").unlink()
    (tmp_path / "d/gone/gone.mcap").unlink()
    dataset = build(tmp_path / "d", caption="a robot")
    found = {row.episode: row.reason for row in dataset.ledger.rows}
    assert sorted(found) == ["\\xff", "cut", "fine", "gone", "link", "rotten", "unfinished"]
    assert [clip.episode for clip in dataset.train] == ["fine"]
    assert "File end magic is invalid" in found["cut"]
    assert "Expected metadata file" in found["unfinished"]
    assert "files are missing" in found["gone"]
    assert found["rotten"].startswith("the recording cannot be read: ")
    assert (found["\\xff"], found["link"]) == ("its name is not UTF-8", "a broken link")
    assert len(dataset.problems) == 6
    dataset.ledger.write(tmp_path / "ledger.parquet")


def test_missing_listed_file_is_an_error(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", {"/cam": shot(film(9))})
    (path / "run.mcap").rename(path / "other.mcap")
    with pytest.raises(DataError, match=r"files are missing.*run\.mcap"):
        open_source(str(path))


def test_empty_recording_is_skipped_or_an_error(tmp_path: Path) -> None:
    write_bag(tmp_path / "d/fine", {"/cam": shot(film(9))})
    write_bag(tmp_path / "d/mute", {"/cam": []})
    write_bag(tmp_path / "d/nothing", {})
    (tmp_path / "d/zero.mcap").write_bytes(b"")
    fine, *_ = recordings(tmp_path / "d")
    assert isinstance(fine, Episode)
    missing = "the recording has no images of this camera"
    assert skipped(tmp_path / "d") == {"mute": missing, "nothing": missing, "zero": "the file is empty"}
    assert skipped(tmp_path / "d/mute") == {"mute": missing}
    with pytest.raises(DataError, match="no topic has images"):
        open_source(str(tmp_path / "d/nothing"))
    with pytest.raises(DataError, match="the file is empty"):
        open_source(str(tmp_path / "d/zero.mcap"))


def in_two_files(path: Path, second_THWC: np.ndarray) -> Path:
    """Write ten frames in one file and the others in a second one; neither file looks recent."""
    write_bag(path, {"/cam": shot(film(10))})
    more = write_bag(path.with_name("more"), {"/cam": shot(second_THWC, 16, 10 / 16)})
    (more / "more.mcap").rename(path / "run_1.mcap")
    shutil.rmtree(more)
    metadata = path / "metadata.yaml"
    metadata.write_text(
        metadata.read_text().replace(f"  - {path.name}.mcap\n", f"  - {path.name}.mcap\n  - run_1.mcap\n")
    )
    for file in path.iterdir():
        os.utime(file, (1, 1))
    return path


def test_recording_in_several_files_is_one_episode(tmp_path: Path) -> None:
    path = in_two_files(tmp_path / "run", film(10, first=10))
    found = episode(path, "/cam")
    assert numbers(found) == list(range(20))
    assert [file.name for file, _ in found.footage.locations] == ["run.mcap", "run_1.mcap"]


def test_change_of_any_file_invalidates_the_recording(tmp_path: Path) -> None:
    path = in_two_files(tmp_path / "run", film(10))
    assert skipped(path) == {}
    (in_two_files(tmp_path / "new", film(10)[:, ::2]) / "run_1.mcap").replace(path / "run_1.mcap")
    assert skipped(path) == {"run": "its images have different sizes (64×64, 32×64)"}


def test_session_is_the_folder_for_any_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bag(tmp_path / "run.mcap", {"/cam": shot(film(4))})
    monkeypatch.chdir(tmp_path)
    assert {episode(Path(path), "/cam").session for path in (".", "run.mcap", "./run.mcap")} == {tmp_path.name}


def test_recordings_with_similar_names_stay_apart(tmp_path: Path) -> None:
    write_bag(tmp_path / "run.mcap", {"/cam": shot(film(4))})
    for name in ("run.bag", "2024.05.01", "2024.05.02"):
        write_bag(tmp_path / name, {"/cam": shot(film(4))})
    assert [recording.name for recording in recordings(tmp_path)] == ["2024.05.01", "2024.05.02", "run.bag", "run.mcap"]
    assert [recording.name for recording in recordings(tmp_path / "2024.05.01")] == ["2024.05.01"]


def test_unneeded_rate_is_an_error(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", {"/cam": shot(film(4))})
    with pytest.raises(DataError, match=r"recorded_fps is given, but ROS recordings states its own frame rate"):
        open_source(str(path), 30)
