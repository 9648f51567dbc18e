import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.episode import Episode
from worldtune.data.sources import open_source
from worldtune.errors import DataError

from ...demo_files import CAMERA, write_demos
from ...reading import build, recordings, reported, skipped
from ...videos import film, read_back


def test_invalid_images_are_skipped_with_the_reason(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "lift.hdf5", {f"demo_{n}": 9 for n in range(7)} | {"demo_7": 0})
    with h5py.File(path, "a") as file:
        changes: list[Any] = [
            np.zeros((9, 8, 8, 3), int),
            film(9)[..., :2],
            np.zeros(9),
            np.zeros((9, 0, 8, 3), np.uint8),
        ]
        for number, images in enumerate(changes):
            del file[f"data/demo_{number}/obs/{CAMERA}"]
            file[f"data/demo_{number}/obs/{CAMERA}"] = images
        del file[f"data/demo_4/obs/{CAMERA}"]
        del file["data/demo_5/obs"]
    no = "not images as uint8 (T, H, W, 3), but "
    missing = "the demonstration has no images of this camera"
    assert skipped(path) == {
        "demo_0": no + "int64 (9, 8, 8, 3)",
        "demo_1": no + "uint8 (9, 64, 64, 2)",
        "demo_2": no + "float64 (9,)",
        "demo_3": no + "uint8 (9, 0, 8, 3)",
        "demo_4": missing,
        "demo_5": missing,
        "demo_7": "the demonstration has no frames",
    }
    assert [clip.episode for clip in build(path).train] == ["demo_6"]
    assert ("warning", "lift.hdf5 demo_0", f"{CAMERA}: {no}int64 (9, 8, 8, 3)") in reported(path)


def test_file_without_images_is_an_error(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "lift.hdf5", {"demo_0": 9})
    with h5py.File(path, "a") as file:
        del file[f"data/demo_0/obs/{CAMERA}"]
    with pytest.raises(DataError, match=r"no demonstration has images in obs/.*as uint8 \(T, H, W, 3\)"):
        open_source(str(path))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda file: file.move("data", "other"), "the group data is missing"),
        (lambda file: (file.move("data", "other"), file.create_dataset("data", data=[1])), "the group data is missing"),
        (lambda file: file["data"].clear(), "the group data has no demonstration"),
        (lambda file: file["data"].attrs.update(env_args="{"), "its env_args: not JSON"),
        (lambda file: file["data"].attrs.update(env_args=[1, 2]), "its env_args: not a text"),
        (lambda file: file["data"].attrs.update(env_args=h5py.Empty("f")), "its env_args: not a text"),
        (lambda file: file["data"].attrs.update(env_args=b"\xff"), "its env_args: not UTF-8 text"),
        (
            lambda file: file["data"].attrs.update(env_args="[" * 10**4),
            "nested deeper than 64",
        ),
        (lambda file: file["data"].attrs.update(problem_info="{"), "its problem_info: not JSON"),
        (lambda file: file["data"].attrs.update(env_args='{"a": NaN}'), "its env_args: NaN is not a number"),
        (lambda file: file["data"].attrs.update(env_args='["\\ud800"]'), "its env_args: a string holds a lone"),
        (lambda file: file["data"].create_group(b"\xff"), "a name that is not UTF-8"),
    ],
)
def test_file_of_another_layout_is_skipped_in_a_folder(tmp_path: Path, harm: Any, reason: str) -> None:
    path = write_demos(tmp_path / "lift.hdf5")
    with h5py.File(path, "a") as file:
        harm(file)
    with pytest.raises(DataError) as refusal:
        open_source(str(path))
    assert reason in refusal.value.what
    assert "\n" not in str(refusal.value)
    write_demos(tmp_path / "fine.hdf5", {"demo_0": 9})
    assert skipped(tmp_path) == {"lift": refusal.value.what}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("obs", [1, 2], "not a group (obs)"),
        ("obs", h5py.SoftLink("/nowhere"), "a broken link, or damaged (obs)"),
        (f"obs/{CAMERA}", h5py.SoftLink("/nowhere"), f"a broken link, or damaged ({CAMERA})"),
        (f"obs/{CAMERA}", h5py.ExternalLink("other.hdf5", "/pictures"), f"a link to another file ({CAMERA})"),
        (f"obs/{CAMERA}", h5py.SoftLink("/way/pictures"), f"a link to another file ({CAMERA})"),
        (f"obs/{CAMERA}", h5py.ExternalLink("gone.hdf5", "/pictures"), f"a link to another file ({CAMERA})"),
        ("obs/robot0_eef_pos", h5py.SoftLink("/nowhere"), "a broken link, or damaged (robot0_eef_pos)"),
        ("obs/robot0_eef_pos", 1.0, "not rows of numbers (robot0_eef_pos)"),
        ("actions", h5py.ExternalLink("other.hdf5", "/pictures"), "a link to another file (actions)"),
        ("actions", np.float32(1), "not rows of numbers (actions)"),
        ("actions", h5py.Empty("f"), "not rows of numbers (actions)"),
        ("actions", np.array([b"left"] * 9), "not rows of numbers (actions)"),
        ("actions", np.zeros(9, [("x", "f4")]), "not rows of numbers (actions)"),
    ],
)
def test_demonstration_of_another_layout_is_skipped(tmp_path: Path, name: str, value: Any, reason: str) -> None:
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["pictures"] = film(9, 77)
    path = write_demos(tmp_path / "lift.hdf5", {"demo_0": 9, "demo_1": 9})
    with h5py.File(path, "a") as file:
        file["way"] = h5py.ExternalLink("other.hdf5", "/")
        del file["data/demo_0"][name]
        file["data/demo_0"][name] = value
    assert skipped(path) == {"demo_0": reason}
    assert [clip.episode for clip in build(path).train] == ["demo_1"]
    assert any(where == "lift.hdf5 demo_0" and reason in what for _, where, what in reported(path))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1, 2], "not a group (demo_0)"),
        (1.0, "not a group (demo_0)"),
        (h5py.SoftLink("/nowhere"), "a broken link, or damaged (demo_0)"),
        (h5py.SoftLink("demo_0"), "a broken link, or damaged (demo_0)"),
        (h5py.ExternalLink("other.hdf5", "/data/demo_0"), "a link to another file (demo_0)"),
        (np.dtype("f4"), "not a group (demo_0)"),
    ],
)
def test_demonstration_that_is_not_a_group_is_skipped(tmp_path: Path, value: Any, reason: str) -> None:
    write_demos(tmp_path / "other.hdf5")
    path = write_demos(tmp_path / "lift.hdf5", {"demo_0": 9, "demo_1": 9})
    with h5py.File(path, "a") as file:
        del file["data/demo_0"]
        file["data/demo_0"] = value
    assert skipped(path) == {"demo_0": reason}
    assert [clip.episode for clip in build(path).train] == ["demo_1"]


def test_images_in_another_file_are_skipped(tmp_path: Path) -> None:
    """The file's digest would not cover them."""
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["pictures"] = film(9)
    path = write_demos(tmp_path / "lift.hdf5", {"demo_0": 9, "demo_1": 9, "demo_2": 9})
    layout = h5py.VirtualLayout((9, 64, 64, 3), np.uint8)
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "pictures", (9, 64, 64, 3))
    with h5py.File(path, "a") as file:
        for number in range(2):
            del file[f"data/demo_{number}/obs/{CAMERA}"]
        file["data/demo_0/obs"].create_virtual_dataset(CAMERA, layout)
        raw = [(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)]
        file["data/demo_1/obs"].create_dataset(CAMERA, data=film(9), external=raw)
    elsewhere = f"a dataset of another file ({CAMERA})"
    assert skipped(path) == {"demo_0": elsewhere, "demo_1": elsewhere}


def test_link_inside_the_file_is_followed(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "lift.hdf5", {"demo_0": 9})
    with h5py.File(path, "a") as file:
        file.move(f"data/demo_0/obs/{CAMERA}", "pictures")
        file[f"data/demo_0/obs/{CAMERA}"] = h5py.SoftLink("/pictures")
    (clip,) = build(path).train
    assert read_back(read_clip(clip)) == [(0, t) for t in range(8)]


@pytest.mark.parametrize("name", ["demo 0", 'demo "0"', "демо 0", "demo'0;--", "demo_0.5", "%2e"])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    path = write_demos(tmp_path / f"a {name}.hdf5", {name: 9})
    with h5py.File(path, "a") as file:
        file.move(f"data/{name}/obs/{CAMERA}", f"data/{name}/obs/cam {name}")
    dataset = build(path)
    (clip,) = dataset.train
    assert (clip.name, clip.camera) == (f"{name}/cam {name}/0", f"cam {name}")
    assert read_back(read_clip(clip)) == [(0, t) for t in range(8)]
    dataset.ledger.write(tmp_path / "ledger.parquet")


@pytest.mark.parametrize("robots", [None, 5, {"a": 1}, "Panda", ["Panda", "Sawyer"]])
def test_invalid_texts_are_ignored(tmp_path: Path, robots: Any) -> None:
    message = {"env_kwargs": {"control_freq": 16, "robots": robots}}
    path = write_demos(tmp_path / "lift.hdf5", env_args=message, problem={"language_instruction": ["lift"]})
    first, *_ = recordings(path)
    assert isinstance(first, Episode)
    assert first.robot == {"Panda": "Panda", '["Panda", "Sawyer"]': "Panda+Sawyer"}.get(
        robots if isinstance(robots, str) else json.dumps(robots), ""
    )
    assert first.task == ""
    build(path).ledger.write(tmp_path / "ledger.parquet")
