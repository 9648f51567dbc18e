from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldtune.data.inspection.contact_sheet import GAP, LABEL, MARGIN, TILE_HEIGHT, write_sheet
from worldtune.data.inspection.summary import inspect_source
from worldtune.data.sources import open_source
from worldtune.data.video.decode import write_video
from worldtune.errors import DataError

from ..videos import read_back, write_packed_v3


def test_rows_show_evenly_spaced_frames_of_the_right_episodes(tmp_path: Path) -> None:
    root = write_packed_v3(tmp_path / "d", (15, 8, 22), {"front": [[0, 1, 2]]})
    usable = inspect_source(open_source(str(root))).usable
    assert write_sheet(tmp_path / "sheet.png", usable, rows=2, columns=8) == 2
    sheet_HWC = np.asarray(Image.open(tmp_path / "sheet.png"))
    for row, (tag, numbers) in enumerate([(0, [0, 2, 4, 6, 8, 10, 12, 14]), (2, [0, 3, 6, 9, 12, 15, 18, 21])]):
        top = MARGIN + row * (LABEL + TILE_HEIGHT + GAP) + LABEL
        for column, number in enumerate(numbers):
            left = MARGIN + column * (TILE_HEIGHT + GAP)
            tile_HWC = sheet_HWC[top : top + TILE_HEIGHT, left : left + TILE_HEIGHT]
            assert read_back(tile_HWC[None]) == [(tag, number)]


def test_an_episode_of_one_frame_is_one_tile(tmp_path: Path) -> None:
    root = write_packed_v3(tmp_path / "d", (1, 3), {"front": [[0, 1]]})
    assert write_sheet(tmp_path / "sheet.png", inspect_source(open_source(str(root))).usable) == 2


def test_very_wide_or_high_image_is_shown(tmp_path: Path) -> None:
    for place, sides in enumerate([(4, 640), (640, 4)]):
        (tmp_path / str(place)).mkdir()
        write_video(tmp_path / str(place) / "a.mp4", np.zeros((3, *sides, 3), np.uint8), 16)
        assert write_sheet(tmp_path / "s.png", inspect_source(open_source(str(tmp_path / str(place)))).usable) == 1


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recording to show"):
        write_sheet(tmp_path / "sheet.png", [])
    assert list(tmp_path.iterdir()) == []
