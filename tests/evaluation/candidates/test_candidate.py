"""Folders of candidates, and videos from other tools: nothing is cut, scaled or skipped."""

from pathlib import Path

import numpy as np
import pytest

from worldtune.data.video.decode import write_video
from worldtune.errors import DataError, UserError
from worldtune.evaluation.candidates.candidate import (
    AdapterFolder,
    VideoFolder,
    WorldFolder,
    parse_candidates,
    read_video_folder,
    video_file_name,
)
from worldtune.evaluation.cases.case import Frames

from ..clips import cases, moving_square

FPS = 16.0


def made(folder: Path, frames_THWC: Frames | None = None, fps: float = FPS) -> Path:
    """Write videos of two cases; the second is `frames_THWC`, if given."""
    folder.mkdir()
    first, second = cases(2)
    write_video(folder / video_file_name(first), moving_square(0), FPS)
    write_video(folder / video_file_name(second), moving_square(1) if frames_THWC is None else frames_THWC, fps)
    return folder


def test_videos_are_read_by_case(tmp_path: Path) -> None:
    videos = read_video_folder(made(tmp_path / "theirs"), cases(2), FPS)
    for seed, case in enumerate(cases(2)):
        (video,) = videos[case.name]
        assert np.abs(video.read().astype(int) - moving_square(seed)).mean() < 3
    assert len({case_videos[0].digest for case_videos in videos.values()}) == 2


@pytest.mark.parametrize(
    ("frames_THWC", "fps", "message"),
    [
        (moving_square(1, frames=9), FPS, "the video has 9 frames, the real video has 11"),
        (moving_square(1, frames=13), FPS, "the video has 13 frames"),
        (moving_square(1)[:, :32], FPS, "the video has 32 pixels of height"),
        (moving_square(1)[:, :, :48], FPS, "the video has 48 pixels of width"),
        (moving_square(1), 8.0, "the video has 8 frames per second, the real video has 16"),
    ],
)
def test_a_different_length_size_or_rate_is_an_error(
    tmp_path: Path, frames_THWC: Frames, fps: float, message: str
) -> None:
    folder = made(tmp_path / "theirs", frames_THWC, fps)
    with pytest.raises(DataError, match=message) as caught:
        read_video_folder(folder, cases(2), FPS)
    assert video_file_name(cases(2)[1]) in caught.value.where


def test_missing_unknown_and_broken_videos_are_errors(tmp_path: Path) -> None:
    folder = made(tmp_path / "theirs")
    with pytest.raises(DataError, match=r"1 of 3 cases have no video, such as 000002_scene_0\.mp4"):
        read_video_folder(folder, cases(3), FPS)
    with pytest.raises(DataError, match=r"1 videos belong to no case, such as 000001_scene_0\.mp4"):
        read_video_folder(folder, cases(1), FPS)
    first = folder / video_file_name(cases(1)[0])
    script = f"ffconcat version 1.0\nfile {first.rename(tmp_path / 'x.mp4')}\nduration 0.6875\n"
    for content in (b"", script.encode()):
        first.write_bytes(content)
        with pytest.raises(DataError, match="not a video"):
            read_video_folder(folder, cases(2), FPS)


def test_the_kind_of_a_folder_is_detected_from_its_content(tmp_path: Path) -> None:
    for name, file in (("adapter", "adapter.json"), ("run", "adapter/adapter.json"), ("world", "model_index.json")):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    made(tmp_path / "videos")
    found = parse_candidates([f"{name}={tmp_path / name}" for name in ("adapter", "run", "world", "videos")])
    assert found == {
        "adapter": AdapterFolder(tmp_path / "adapter"),
        "run": AdapterFolder(tmp_path / "run" / "adapter"),
        "world": WorldFolder(tmp_path / "world"),
        "videos": VideoFolder(tmp_path / "videos"),
    }


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["adapter"], "NAME=PATH"),
        (["=x"], "NAME=PATH"),
        (["a="], "NAME=PATH"),
        (["a=/nowhere"], "not an adapter, a world model or a folder"),
    ],
)
def test_malformed_candidates_are_errors(entries: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_candidates(entries)


def test_a_name_used_twice_is_an_error(tmp_path: Path) -> None:
    folder = made(tmp_path / "videos")
    with pytest.raises(UserError, match="two candidates are called 'a'"):
        parse_candidates([f"a={folder}", f"a={folder}"])
