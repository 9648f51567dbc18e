"""First frames of image folders and datasets."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from support.films import write_square_dataset
from worldtune.data.dataset import build_dataset
from worldtune.data.spec import DataSpec
from worldtune.dreams.making.first_frames import choose_clips, read_dataset_frames, read_image_folder
from worldtune.errors import DataError


def test_images_are_read_by_name_and_fitted(tmp_path: Path) -> None:
    for name, level in (("b.png", 40), ("a.png", 200)):
        cv2.imwrite(str(tmp_path / name), np.full((128, 256, 3), level, np.uint8))
    (tmp_path / "readme.md").write_text("not an image")
    frames = read_image_folder(tmp_path, 64, 64, "cover")
    assert [(frame.episode, frame.frame_HWC.shape, int(frame.frame_HWC[0, 0, 0])) for frame in frames] == [
        ("a.png", (64, 64, 3), 200),
        ("b.png", (64, 64, 3), 40),
    ]
    assert [frame.state_S for frame in frames] == [None, None]
    assert frames[0].digest != frames[1].digest


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DataError, match=r"the picture cannot be read.*a\.png"):
        read_image_folder(tmp_path, 64, 64, "cover")


def test_each_recording_gives_its_first_window_only(tmp_path: Path) -> None:
    path = str(write_square_dataset(tmp_path / "data", 3))
    spec = DataSpec(path=path, frames=5, fps=16, height=32, width=32, stride=2)
    dataset = build_dataset(spec)
    assert len(dataset.train) > 3
    frames = read_dataset_frames(dataset.train)
    assert len(frames) == 3
    assert len({frame.episode for frame in frames}) == 3
    with pytest.raises(DataError, match="no clips for episodes: held_out"):
        choose_clips(dataset, "held_out", path)
    assert choose_clips(dataset, "all", path) == dataset.train
