from pathlib import Path

import pytest
from pydantic import ValidationError

from worldtune.data.dataset import Dataset, build_dataset, open_dataset
from worldtune.data.ledger import NOT_IN_PREDEFINED_SPLIT
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from ..videos import edit_info, write_v2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write six episodes of two tasks and two cameras."""
    return write_v2(tmp_path_factory.mktemp("stated") / "d", (6,) * 6, ("front", "wrist"))


def spec(root: Path, **settings: object) -> DataSpec:
    return DataSpec.model_validate(
        {"path": str(root), "frames": 6, "fps": 16, "height": 64, "width": 64, "split_by": "predefined"} | settings
    )


def sides(found: Dataset) -> tuple[list[str], list[str]]:
    train, held_out = (sorted({int(clip.episode) for clip in clips}) for clips in (found.train, found.held_out))
    return "".join(map(str, train)), "".join(map(str, held_out))


@pytest.mark.parametrize(
    ("splits", "train", "held_out"),
    [
        ({"train": "0:4", "val": "4:6"}, "0123", "45"),
        ({"train": [0, 2, 4], "test": [1, 3, 5]}, "024", "135"),
        ({"Train": "0:2", "valid": "2:3", "test": "3:4", "better": "0:6"}, "01", "23"),
    ],
)
def test_predefined_split_is_used(dataset: Path, splits: dict[str, object], train: str, held_out: str) -> None:
    edit_info(dataset, splits=splits)
    found = open_dataset(spec(dataset, max_skipped=0))
    assert sides(found) == (train, held_out)
    others = {row.episode for row in found.ledger.rows if row.reason == NOT_IN_PREDEFINED_SPLIT}
    assert {int(name) for name in others} == set(range(6)) - set(map(int, train + held_out))
    assert not [problem for problem in found.problems if problem.where == "split"]


def test_unused_split_is_a_warning(dataset: Path) -> None:
    edit_info(dataset, splits={"train": "0:4", "val": "4:6"})
    found = build_dataset(spec(dataset, split_by="episode", held_out=0.3))
    counts = "train (4), val (2) of 6 episodes"
    message = f"the source states a split that is not used: {counts}; data.split_by: predefined uses it"
    assert [problem.what for problem in found.problems if problem.where == "split"] == [message]
    for splits in ({}, {"train": "0:6"}, {"20_percent": [1]}):
        edit_info(dataset, splits=splits)
        found = build_dataset(spec(dataset, split_by="episode", held_out=0.3))
        assert not [problem for problem in found.problems if problem.where == "split"]
    edit_info(dataset, splits={"train": "0:5"})
    (problem,) = build_dataset(spec(dataset, split_by="episode")).problems
    assert "train (5) of 6 episodes" in problem.what


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": "0:6"}, r"states no held-out episodes .*Its splits are: train \(6\)"),
        ({"val": "0:6"}, "states no training episodes"),
        ({}, "states no training episodes .*Its splits are: none"),
        ({"train": "0:4", "val": "3:6"}, "states episode 000003 both for training and as held out"),
    ],
)
def test_missing_predefined_split_is_an_error(dataset: Path, splits: dict[str, str], message: str) -> None:
    edit_info(dataset, splits=splits)
    with pytest.raises(DataError, match=message):
        build_dataset(spec(dataset))


def test_held_out_task_is_separate_from_predefined_split(dataset: Path) -> None:
    edit_info(dataset, splits={"train": "0:4", "val": "4:6"})
    found = open_dataset(spec(dataset, held_out_tasks=["task 1"]))
    assert sides(found) == ("02", "4")
    assert {int(clip.episode) for clip in found.new_task} == {1, 3, 5}


def test_side_without_clips_is_a_fault(dataset: Path) -> None:
    edit_info(dataset, splits={"train": "0:4", "val": "4:6"})
    found = build_dataset(spec(dataset, tasks=["task 0"], cameras=["front"], held_out_tasks=["task 0"]))
    assert [fault.message for fault in found.faults] == ["no training clip of the source's split can be used"]


def test_held_out_with_predefined_split_is_an_error(dataset: Path) -> None:
    with pytest.raises(ValidationError, match="remove held_out"):
        spec(dataset, held_out=0.2)
