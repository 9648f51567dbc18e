from pathlib import Path

import h5py
import numpy as np
import pytest

from worldtune.data.dataset import build_dataset, open_dataset
from worldtune.data.sources import open_source
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from ...scenes import scene


def write_demos(path: Path, masks: dict[str, list[str]], first: int = 0) -> Path:
    """Write six demonstrations as robomimic does, with these masks."""
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = '{"env_kwargs": {"control_freq": 16}}'
        for n in range(6):
            frames_THWC = scene(12, first + n)
            file[f"data/demo_{n}/obs/front_image"] = frames_THWC
            file[f"data/demo_{n}/actions"] = np.random.default_rng(first + n).normal(size=(12, 3))
        for name, demos in masks.items():
            file[f"mask/{name}"] = np.array([demo.encode() for demo in demos])
    return path


def spec(path: Path, **settings: object) -> DataSpec:
    size = {"path": str(path), "frames": 12, "fps": 16, "height": 96, "width": 128, "caption": "a robot"}
    return DataSpec.model_validate(size | settings)


MASKS = {"train": ["demo_0", "demo_1", "demo_5"], "valid": ["demo_4", "demo_9"], "20_percent": ["demo_0"]}


def test_masks_are_a_predefined_split(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "a.hdf5", MASKS)
    dataset = open_dataset(spec(path, split_by="predefined"))
    assert {clip.episode for clip in dataset.train} == {"demo_0", "demo_1", "demo_5"}
    assert {clip.episode for clip in dataset.held_out} == {"demo_4"}
    assert open_source(str(path)).predefined_splits["20_percent"] == {"demo_0"}


def test_unused_masks_are_a_warning(tmp_path: Path) -> None:
    dataset = build_dataset(spec(write_demos(tmp_path / "a.hdf5", MASKS)))
    counts = "train (3), valid (1) of 6 episodes"
    message = f"the source states a split that is not used: {counts}; data.split_by: predefined uses it"
    assert [problem.what for problem in dataset.problems] == [message]


def test_each_file_has_its_own_masks(tmp_path: Path) -> None:
    write_demos(tmp_path / "a.hdf5", {"train": ["demo_0"], "valid": ["demo_1"]})
    write_demos(tmp_path / "b.hdf5", {"train": ["demo_1"]}, first=10)
    assert open_source(str(tmp_path)).predefined_splits == {"train": {"a/demo_0", "b/demo_1"}, "valid": {"a/demo_1"}}


def test_mask_linked_to_another_file_is_an_error(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "a.hdf5", {})
    with h5py.File(path, "r+") as file:
        file["mask/train"] = h5py.ExternalLink("other.hdf5", "mask/train")
    with pytest.raises(DataError, match=r"a\.hdf5"):
        open_source(str(path))
