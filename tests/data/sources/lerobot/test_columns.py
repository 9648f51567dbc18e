import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from worldtune.data.dataset import build_dataset
from worldtune.data.sources import open_source
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from ...tables import set_column
from ...videos import cosmos_folder, edit_info, write_v2

LENGTH = 8
COLUMNS = {"state": (np.float32, 3), "actions": (np.float64, 4), "observation.gripper": (np.int64, 1)}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Write a dataset with openpi's column names, and a column of single numbers."""
    root = write_v2(tmp_path / "d", (LENGTH, LENGTH))
    features = {"cam": json.loads((root / "meta/info.json").read_text())["features"]["cam"]}
    for name, (kind, size) in COLUMNS.items():
        names = {"motors": [f"{name}{n}" for n in range(size)]} if name == "state" else ["open"] if size == 1 else None
        features[name] = {"dtype": np.dtype(kind).name, "shape": [size], "names": names}
        for e in range(2):
            values_TD = np.arange(LENGTH * size).reshape(LENGTH, size).astype(kind) + 100 * e
            rows = values_TD[:, 0].tolist() if size == 1 else values_TD.tolist()
            path = root / f"data/chunk-000/episode_{e:06d}.parquet"
            set_column(path, name, pa.array(rows))
            set_column(path, "action", None)
            set_column(path, "observation.state", None)
    edit_info(root, features=features | {"task_index": {"dtype": "int64", "shape": [1], "names": None}})
    return root


def spec(root: Path, **settings: object) -> DataSpec:
    size = {"path": str(root), "frames": LENGTH, "fps": 16, "height": 64, "width": 64}
    return DataSpec.model_validate(size | settings)


def test_recipe_chooses_columns(dataset: Path) -> None:
    found = build_dataset(spec(dataset, state=["state", "observation.gripper"], action="actions"))
    for e, clip in enumerate(sorted(found.train, key=lambda clip: clip.episode)):
        assert clip.states is not None
        assert clip.actions is not None
        assert clip.states.dtype == clip.actions.dtype == np.float32
        expected = [[3 * t + 100 * e, 3 * t + 1 + 100 * e, 3 * t + 2 + 100 * e, t + 100 * e] for t in range(LENGTH)]
        assert clip.states.tolist() == expected
        assert clip.actions[:, 3].tolist() == [4 * t + 3 + 100 * e for t in range(LENGTH)]
    assert found.state_names == ["state0", "state1", "state2", "open"]
    assert found.problems == []


def test_unread_columns_are_one_warning(dataset: Path) -> None:
    found = build_dataset(spec(dataset))
    assert {clip.states is None and clip.actions is None for clip in found.train} == {True}
    message = "no states and no actions are read; columns not read: state (3), actions (4), observation.gripper (1)"
    assert [problem.what for problem in found.problems] == [
        f"{message} (data.state and data.action name those to read)"
    ]
    (problem,) = build_dataset(spec(dataset, state="state")).problems
    assert problem.what.startswith("no actions are read; columns not read: actions (4), observation.gripper (1)")


def test_missing_column_is_an_error(dataset: Path) -> None:
    columns = r"state \(3\), actions \(4\), observation.gripper \(1\)"
    message = rf"data.action: no numeric column action .*Numeric columns: {columns}"
    with pytest.raises(DataError, match=message):
        build_dataset(spec(dataset, action="action"))
    with pytest.raises(DataError, match=r"data\.state: no numeric column cam"):
        build_dataset(spec(dataset, state=["state", "cam"]))


def test_other_sources_have_no_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.state and data.action name columns of a LeRobot dataset"):
        build_dataset(spec(cosmos_folder(tmp_path / "d", {"a": 8}), state="state"))


def test_columns_change_the_digest(dataset: Path) -> None:
    digests = {build_dataset(spec(dataset, state=state)).digest for state in (None, "state", ["state"])}
    assert len(digests) == 2
    assert open_source(str(dataset)).state_names == []
