"""The judge is asked about kept dreams only, and the selection can be repeated."""

import shutil
from pathlib import Path

import pytest

from support.chat import ChatRequest, Reply, completion, serving
from worldtune.dreams.critics.select import select
from worldtune.dreams.dream_folder import DreamFolder
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.ledger import DreamRow, read_rows, write_rows
from worldtune.dreams.request import JudgeSettings


@pytest.fixture
def folder(made: DreamSet, tmp_path: Path) -> Path:
    shutil.copytree(made.folder, tmp_path / "dreams")
    rows = [row.model_copy(update={"kept": True, "reason": "", "duplicate_of": None}) for row in made.ledger]
    rows[0] = rows[0].model_copy(update={"kept": False, "reason": "path: largest step 9 is above 2"})
    write_rows(tmp_path / "dreams", rows)
    return tmp_path / "dreams"


def facts(rows: list[DreamRow]) -> list[tuple[bool, str]]:
    return [(row.kept, row.reason) for row in rows]


def test_low_rating_rejects_a_dream(folder: Path) -> None:
    size = DreamFolder(folder).plan().size

    def answer(request: ChatRequest) -> Reply:
        physics = "obey physics" in request.text
        return completion("2" if physics and len(chat.requests) == 1 else "4")

    with serving(answer) as chat:
        select(folder, size, JudgeSettings(model="judge", endpoint=chat.url))
        rows = read_rows(folder)
        assert len(chat.requests) == 2 * 5
        assert facts(rows)[:2] == [
            (False, "path: largest step 9 is above 2"),
            (False, "judge: physics 2 is below 3"),
        ]
        assert rows[2].values["judge.physics"] == rows[2].values["judge.instruction"] == 4
        assert "judge" not in rows[0].critics
        assert "judge" in rows[1].critics
        select(folder, size, JudgeSettings(model="judge", endpoint=chat.url))
        assert read_rows(folder) == rows
        assert len(chat.requests) == 2 * 5  # the answers are cached


def test_equal_videos_are_counted_once_and_rows_are_sorted(folder: Path) -> None:
    shutil.copy(folder / "videos" / "000002.mp4", folder / "videos" / "000005.mp4")
    write_rows(folder, reversed(read_rows(folder)))
    size = DreamFolder(folder).plan().size
    select(folder, size, None)
    rows = read_rows(folder)
    assert [row.name for row in rows] == [f"00000{number}" for number in range(6)]
    assert (rows[5].kept, rows[5].duplicate_of, rows[5].reason) == (False, "000002", "duplicate: of 000002")
    assert rows[2].kept
    select(folder, size, None)
    assert read_rows(folder) == rows
