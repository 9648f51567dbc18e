from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldtune.errors import UserError
from worldtune.evaluation.report.contact_sheet import HEADING_HEIGHT, LABEL_WIDTH, MARGIN, TILE_GAP, write_contact_sheet

from ..clips import candidates, cases


def test_frames_and_labels_are_in_their_places(tmp_path: Path) -> None:
    judged = cases(5)
    clips = candidates(judged)
    write_contact_sheet(tmp_path / "sheet.png", judged, clips, ["reference", "base", "LoRA"], shown=1, frames=5)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    side = 128
    top = MARGIN + HEADING_HEIGHT + 2 * (side + TILE_GAP)
    left = MARGIN + LABEL_WIDTH + 4 * (side + TILE_GAP)
    last = clips["LoRA"][judged[0].name][0].read()[10]
    assert (sheet[top : top + side : 2, left : left + side : 2] == last).all()
    labels = sheet[MARGIN + HEADING_HEIGHT :, MARGIN : MARGIN + LABEL_WIDTH - 8]
    assert labels.min() < 60, "the rows are labeled"


def test_clips_of_different_tasks_come_first(tmp_path: Path) -> None:
    judged = [*cases(1), *cases(1, first=3), *cases(1, first=1)]
    write_contact_sheet(tmp_path / "two.png", judged, {}, ["reference", "first frame frozen"], shown=2)
    write_contact_sheet(tmp_path / "same.png", [judged[0], judged[2]], {}, ["reference", "first frame frozen"])
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "same.png").read_bytes()


def test_an_absent_column_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="GoRA has no clip"):
        write_contact_sheet(tmp_path / "a.png", cases(1), {}, ["reference", "GoRA"])
    assert list(tmp_path.iterdir()) == []
