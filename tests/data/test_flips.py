import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.flips import UPSIDE_DOWN, Flip, FlippedFootage
from worldtune.data.inspection.summary import inspect_source
from worldtune.data.sources import open_source

from .demo_files import CAMERA, write_demos
from .reading import build, episode, frames
from .videos import film, read_back

TURNED = {"vertical": np.s_[:, ::-1], "horizontal": np.s_[:, :, ::-1], "both": np.s_[:, ::-1, ::-1]}


def stored(path: Path, how: Flip, **attributes: Any) -> Path:
    """Write a flipped demonstration, with attributes of the group data."""
    write_demos(path, {"demo_0": 20}, problem={"language_instruction": "lift the cup"})
    with h5py.File(path, "a") as file:
        del file[f"data/demo_0/obs/{CAMERA}"]
        file[f"data/demo_0/obs/{CAMERA}"] = film(20, 5)[TURNED[how]]
        file["data"].attrs.update(attributes)
    return path


@pytest.mark.parametrize("how", TURNED)
def test_clips_are_flipped(tmp_path: Path, how: Flip) -> None:
    dataset = build(stored(tmp_path / "a.hdf5", how), flip=how)
    assert [read_back(read_clip(clip)) for clip in dataset.train] == [
        [(5, t) for t in range(8)], [(5, t) for t in range(8, 16)],
    ]  # fmt: skip
    assert {row.note for row in dataset.ledger.rows} == {f"flipped ({how})"}
    assert build(tmp_path / "a.hdf5").digest != dataset.digest


@pytest.mark.parametrize("how", TURNED)
def test_flipped_features_equal_those_of_flipped_frames(tmp_path: Path, how: Flip) -> None:
    plain = episode(stored(tmp_path / "a.hdf5", how), CAMERA).footage
    upright = episode(write_demos(tmp_path / "b.hdf5", {"demo_0": 20}, tag=5), CAMERA)
    assert np.array_equal(np.stack([f for _, f in FlippedFootage(plain, how).frames(range(20))]), frames(upright))
    turned, right = FlippedFootage(plain, how).frame_features(20), upright.footage.frame_features(20)
    assert np.array_equal(turned.thumbs, right.thumbs)
    assert np.array_equal(turned.motion, right.motion)


def test_tile_contains_flipped_images(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.hdf5", "vertical")
    clip, *_ = build(path, flip="vertical", tile=[[CAMERA, ""]], width=128).train
    assert read_back(read_clip(clip)[:, :, :64]) == [(5, t) for t in range(8)]


KNOWN: list[dict[str, Any]] = [
    {"macros_image_convention": "opengl"},
    {"tag": "libero-v1"},
    {"bddl_file_name": "chiliocosm/bddl_files/KITCHEN_SCENE1_open_the_drawer.bddl"},
    {"env_args": json.dumps({"env_name": "Libero_Kitchen", "env_kwargs": {"control_freq": 16}})},
]


@pytest.mark.parametrize("attributes", KNOWN, ids=str)
def test_upside_down_dataset_is_a_warning(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = stored(tmp_path / "a.hdf5", "vertical", **attributes)
    assert [(problem.level, problem.what) for problem in build(path).problems] == [("warning", UPSIDE_DOWN)]
    assert build(path, flip="vertical").problems == []
    assert len(inspect_source(open_source(str(path))).problems) == 1
    assert inspect_source(open_source(str(path)), flip="vertical").problems == []


def test_upright_dataset_is_not_a_warning(tmp_path: Path) -> None:
    path = stored(tmp_path / "libero.hdf5", "vertical", macros_image_convention="opencv")
    assert build(path).problems == []
    assert build(stored(tmp_path / "lift.hdf5", "vertical")).problems == []
