import json
from pathlib import Path
from typing import Any

import pytest

from worldtune.data.sources import open_source
from worldtune.data.sources.lerobot.splits import parse_ranges

from ...videos import edit_info, write_v2


@pytest.mark.parametrize(
    ("stated", "ranges"),
    [
        ("0:40", [(0, 40)]),
        ("0:4, 6:8", [(0, 4), (6, 8)]),
        ([0, 2, 5], [(0, 1), (2, 3), (5, 6)]),
        (["0:2", 5], [(0, 2), (5, 6)]),
        ([], []),
        (7, [(7, 8)]),
        ("4:2", None),
        ("0:80%", None),
        ([[0]], None),
        ([True], None),
        (None, None),
        ({"from": 0}, None),
        (-1, None),
    ],
)
def test_episode_ranges_are_parsed(stated: Any, ranges: list[tuple[int, int]] | None) -> None:
    assert parse_ranges(stated) == ranges


def test_splits_and_split_column_are_read(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (6, 6, 6, 6))
    edit_info(root, splits={"train": "0:2", "val": [3], "odd": "some"})
    path = root / "meta/episodes.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[2]["split"] = "test"
    path.write_text("\n".join(map(json.dumps, records)))
    assert open_source(str(root)).predefined_splits == {
        "train": {"000000", "000001"},
        "val": {"000003"},
        "test": {"000002"},
    }
