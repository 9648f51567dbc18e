from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worldtune.data.clip import read_clip, read_clips
from worldtune.data.video.decode import write_video
from worldtune.errors import DataError

from .videos import film, read_back, whole, write_reordered_video


def test_frame_indices_count_from_the_episode_start(tmp_path: Path) -> None:
    write_reordered_video(tmp_path / "a.mp4", film(60), 16)
    clip = replace(whole(tmp_path / "a.mp4", 4, start=20), frame_indices=(0, 2, 2, 7))
    frames_THWC = read_clip(clip)
    assert frames_THWC.dtype == np.uint8
    assert [number for _, number in read_back(frames_THWC)] == [20, 22, 22, 27]


def test_frames_have_the_clips_size(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(5), 16)
    clip = replace(whole(tmp_path / "a.mp4", 5), height=32, width=128)
    frames_THWC = read_clip(clip)
    assert frames_THWC.shape == (5, 32, 128, 3)
    assert [number for _, number in read_back(frames_THWC)] == [0, 1, 2, 3, 4]


def test_reading_many_clips_equals_reading_each(tmp_path: Path) -> None:
    for name, tag in (("a.mp4", 1), ("b.mp4", 2)):
        write_reordered_video(tmp_path / name, film(50, tag), 16)
    clips = [
        replace(whole(tmp_path / name, 10, start), episode=f"{name}{start}")
        for start in (40, 0, 7, 3, 40)
        for name in ("b.mp4", "a.mp4")
    ]
    read = [(clip, frames_THWC) for clip, frames_THWC in read_clips(clips)]
    assert sorted(clip.name for clip, _ in read) == sorted(clip.name for clip in clips)
    for clip, frames_THWC in read:
        assert (frames_THWC == read_clip(clip)).all()
        assert read_back(frames_THWC)[0] == (1 if clip.footage.video.name == "a.mp4" else 2, clip.footage.start)


def test_video_that_ends_early_is_an_error(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(5), 16)
    with pytest.raises(DataError, match="ends before frame 5 of clip 0/c/0"):
        read_clip(whole(tmp_path / "a.mp4", 6))
