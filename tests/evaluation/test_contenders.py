"""Folders that may be compared, and videos that something else made: nothing is cut, scaled or left out."""

from pathlib import Path

import numpy as np
import pytest

from worldtune.episodes.video import write_video
from worldtune.errors import DataError, UserError
from worldtune.evaluation.case import Frames
from worldtune.evaluation.contenders import (
    AdapterFolder,
    OtherWorld,
    VideoFolder,
    file_name,
    read_contenders,
    videos_in,
)

from .clips import cases, moving_square

FPS = 16.0


def made(folder: Path, frames_THWC: Frames | None = None, fps: float = FPS) -> Path:
    """The videos of two cases; the second is `frames_THWC`, if given."""
    folder.mkdir()
    first, second = cases(2)
    write_video(folder / file_name(first), moving_square(0), FPS)
    write_video(folder / file_name(second), moving_square(1) if frames_THWC is None else frames_THWC, fps)
    return folder


def test_videos_are_those_of_the_files(tmp_path: Path) -> None:
    videos = videos_in(made(tmp_path / "theirs"), cases(2), FPS)
    for seed, case in enumerate(cases(2)):
        (video,) = videos[case.name]
        assert np.abs(video.read().astype(int) - moving_square(seed)).mean() < 3
    assert len({its[0].digest for its in videos.values()}) == 2


@pytest.mark.parametrize(
    ("frames_THWC", "fps", "said"),
    [
        (moving_square(1, frames=9), FPS, "it has 9 frames, the real video has 11"),
        (moving_square(1, frames=13), FPS, "it has 13 frames"),
        (moving_square(1)[:, :32], FPS, "it has 32 pixels of height"),
        (moving_square(1)[:, :, :48], FPS, "it has 48 pixels of width"),
        (moving_square(1), 8.0, "it has 8 frames a second, the real video has 16"),
    ],
)
def test_another_count_size_or_rate_is_refused(tmp_path: Path, frames_THWC: Frames, fps: float, said: str) -> None:
    folder = made(tmp_path / "theirs", frames_THWC, fps)
    with pytest.raises(DataError, match=said) as caught:
        videos_in(folder, cases(2), FPS)
    assert file_name(cases(2)[1]) in caught.value.where


def test_a_missing_a_strange_and_a_broken_video_are_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "theirs")
    with pytest.raises(DataError, match=r"1 of 3 cases have no video, as 000002_scene_0\.mp4"):
        videos_in(folder, cases(3), FPS)
    with pytest.raises(DataError, match=r"1 videos are of no case, as 000001_scene_0\.mp4"):
        videos_in(folder, cases(1), FPS)
    first = folder / file_name(cases(1)[0])
    script = f"ffconcat version 1.0\nfile {first.rename(tmp_path / 'x.mp4')}\nduration 0.6875\n"
    for content in (b"", script.encode()):
        first.write_bytes(content)
        with pytest.raises(DataError, match="no video"):
            videos_in(folder, cases(2), FPS)


def test_what_a_folder_is_shows_in_its_content(tmp_path: Path) -> None:
    for name, file in (("adapter", "adapter.json"), ("run", "adapter/adapter.json"), ("world", "model_index.json")):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    made(tmp_path / "films")
    found = read_contenders([f"{name}={tmp_path / name}" for name in ("adapter", "run", "world", "films")])
    assert found == {
        "adapter": AdapterFolder(tmp_path / "adapter"),
        "run": AdapterFolder(tmp_path / "run" / "adapter"),
        "world": OtherWorld(tmp_path / "world"),
        "films": VideoFolder(tmp_path / "films"),
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["adapter"], "NAME=PATH"),
        (["=x"], "NAME=PATH"),
        (["a="], "NAME=PATH"),
        (["a=/nowhere"], "no adapter, no world model and no folder"),
    ],
)
def test_what_is_none_of_these_is_refused(asked: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_contenders(asked)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "films")
    with pytest.raises(UserError, match="two candidates are called 'a'"):
        read_contenders([f"a={folder}", f"a={folder}"])
