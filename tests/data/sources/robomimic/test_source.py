import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.dataset import open_dataset
from worldtune.data.episode import Episode
from worldtune.data.sources import open_source
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from ...demo_files import CAMERA, ENV_ARGS, LENGTHS, write_demos
from ...reading import build, recordings, reported, skipped
from ...videos import cosmos_folder, film, read_back, truncate, write_v2


def test_demonstrations_are_read_in_natural_order(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "lift.hdf5")
    source = open_source(str(path))
    assert (source.kind, source.cameras, source.count) == ("robomimic HDF5", [CAMERA], 3)
    assert (source.tasks, source.problems()) == (["lift the cup"], [])
    found = recordings(path)
    assert [recording.name for recording in found] == ["demo_0", "demo_2", "demo_10"]
    for number, (recording, length) in enumerate(zip(found, LENGTHS.values(), strict=True)):
        assert isinstance(recording, Episode)
        assert (recording.task, recording.caption, recording.session, recording.robot) == (
            "lift the cup",
            "lift the cup",
            "lift",
            "Panda",
        )
        assert (recording.frames, recording.fps, recording.height, recording.width) == (length, 16, 64, 64)
        assert recording.states is not None
        assert recording.actions is not None
        assert (recording.states.shape, recording.states.dtype, recording.actions.dtype) == (
            (length, 5),
            "float32",
            "float32",
        )
        assert np.array_equal(recording.states[:, :3].ravel(), np.arange(3 * length))
        assert np.array_equal(recording.actions, np.full((length, 7), number))


def test_the_frames_of_a_clip_are_those_of_the_file(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "lift.hdf5")
    clips = open_dataset(DataSpec(path=str(path), frames=4, fps=16, height=64, width=64, stride=2)).train
    assert [clip.name for clip in clips[:3]] == [f"demo_0/{CAMERA}/{first}" for first in (0, 2, 4)]
    with h5py.File(path) as file:
        for clip in clips:
            images = file[f"data/{clip.episode}/obs/{CAMERA}"][:]
            assert np.array_equal(read_clip(clip), images[list(clip.frame_indices)])


@pytest.mark.parametrize("options", [{"chunks": (4, 32, 64, 3), "compression": "gzip"}, {"chunks": True}])
def test_compressed_images_are_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write_demos(tmp_path / "lift.hdf5", {"demo_0": 20})
    with h5py.File(path, "a") as file:
        observed = file["data/demo_0/obs"]
        del observed[CAMERA]
        observed.create_dataset(CAMERA, data=film(20, 7), **options)
    clips = build(path).train
    assert [read_back(read_clip(clip)) for clip in clips] == [[(7, t) for t in clip.frame_indices] for clip in clips]


def test_task_is_read_from_demonstration_or_file(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "lift.hdf5")
    with h5py.File(path, "a") as file:
        file["data/demo_2"].attrs["language_instruction"] = "schiebe „Würfel“ weg"
        file["data/demo_10"].attrs["task"] = np.bytes_("stack")
    assert [found.task for found in recordings(path)] == ["lift the cup", "schiebe „Würfel“ weg", "stack"]
    message = ENV_ARGS | {"language_instruction": "open it"}
    assert open_source(str(write_demos(tmp_path / "b.hdf5", env_args=message, problem={}))).tasks == ["open it"]
    untold = write_demos(tmp_path / "c.hdf5", problem={})
    assert {row.reason for row in build(untold).ledger.rows} == {"caption missing ({caption} is empty)"}


def test_every_file_of_a_folder_is_a_session(tmp_path: Path) -> None:
    write_demos(tmp_path / "d/monday.hdf5", {"demo_0": 9})
    write_demos(tmp_path / "d/tuesday.h5", {"demo_0": 9, "demo_1": 9}, tag=10)
    write_demos(tmp_path / "d/tuesday.hdf5", {"demo_0": 9}, tag=20)
    (tmp_path / "d/README.md").write_text("notes")
    clips = build(tmp_path / "d").train
    assert [clip.episode for clip in clips] == [
        "monday/demo_0", "tuesday.h5/demo_0", "tuesday.h5/demo_1", "tuesday.hdf5/demo_0",
    ]  # fmt: skip
    assert [read_back(read_clip(clip))[0] for clip in clips] == [(0, 0), (10, 0), (11, 0), (20, 0)]
    sessions = [found.session for found in recordings(tmp_path / "d")]
    assert sessions == ["monday", "tuesday.h5", "tuesday.h5", "tuesday.hdf5"]


@pytest.mark.parametrize(
    "settings",
    [{}, {"env_kwargs": None}, {"env_kwargs": []}]
    + [{"env_kwargs": {"control_freq": rate}} for rate in (None, 0, -20, "20", 10**30)],
)
def test_missing_rate_must_be_given(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = write_demos(tmp_path / "lift.hdf5", env_args=settings)
    with pytest.raises(DataError, match=r"does not state its frame rate \[.*lift\.hdf5\]\. Add data\.recorded_fps"):
        open_source(str(path))
    assert [found.fps for found in recordings(path, fps=20)] == [20, 20, 20]
    rows = build(path, recorded_fps=20).ledger.rows
    assert {(row.fps_in, row.note) for row in rows if row.kept} == {(20, "retimed from 20 to 16 fps")}


def test_given_rate_applies_only_to_files_without_a_rate(tmp_path: Path) -> None:
    write_demos(tmp_path / "d/a.hdf5", {"demo_0": 9})
    write_demos(tmp_path / "d/b.hdf5", {"demo_0": 9}, env_args={})
    assert [found.fps for found in recordings(tmp_path / "d", fps=20)] == [16, 20]


def test_given_rate_is_an_error_if_the_source_states_one(tmp_path: Path) -> None:
    places = {
        "LeRobot v2.1 states its own frame rate": write_v2(tmp_path / "v2", (9,)),
        "Cosmos folder states its own frame rate": cosmos_folder(tmp_path / "cosmos", {"push": 9}),
        "env_args state the frame rate": write_demos(tmp_path / "lift.hdf5"),
    }
    for what, place in places.items():
        with pytest.raises(DataError, match=rf"recorded_fps is given, but {what} .*Remove it"):
            open_source(str(place), 20)


@pytest.mark.parametrize(("name", "what"), [("actions", "action"), ("obs/robot0_eef_pos", "state")])
@pytest.mark.parametrize("count", [7, 0])
def test_row_count_mismatch_is_an_error(tmp_path: Path, name: str, what: str, count: int) -> None:
    path = write_demos(tmp_path / "lift.hdf5", {"demo_0": 9, "demo_1": 9})
    with h5py.File(path, "a") as file:
        for column in ("actions",) if what == "action" else ("obs/robot0_eef_pos", "obs/robot0_gripper_qpos"):
            rows = file[f"data/demo_1/{column}"][:count]
            del file[f"data/demo_1/{column}"]
            file[f"data/demo_1/{column}"] = rows
    dataset = build(path)
    assert [row.reason for row in dataset.ledger.rows if row.episode == "demo_1"] == [
        f"{what} rows and frames differ ({count} and 9)"
    ]
    counts = {"actions": 9, "robot0_eef_pos": 9, "robot0_gripper_qpos": 9} | {name.removeprefix("obs/"): count}
    counts |= {"robot0_gripper_qpos": count} if what == "state" else {}
    text = ", ".join(f"{name} {count}" for name, count in counts.items())
    assert reported(path) == [
        ("error", "lift.hdf5 demo_1", f"different numbers of rows: {text}"),
        ("error", "lift.hdf5 demo_1", f"{CAMERA}: 9 frames, but rows: {text}"),
    ]
    (fault,) = dataset.faults
    assert str(fault) == f"lift.hdf5 demo_1: different numbers of rows: {text} and 1 more"
    assert "max_skipped" not in fault.hint


def test_truncated_file_is_skipped_and_others_are_read(tmp_path: Path) -> None:
    for tag, name in enumerate(("a", "cut", "z")):
        write_demos(tmp_path / f"d/{name}.hdf5", {"demo_0": 9}, tag=tag)
    truncate(tmp_path / "d/cut.hdf5")
    (tmp_path / "d/text.hdf5").write_text("no HDF5")
    (tmp_path / "d/link.hdf5").symlink_to("gone")
    write_demos(tmp_path / "d/x.hdf5", {"demo_0": 9}, tag=9).rename(tmp_path / os.fsdecode(b"d/\xff.hdf5"))
    (tmp_path / "d/folder.hdf5").mkdir()
    dataset = build(tmp_path / "d")
    assert [clip.episode for clip in dataset.train] == ["a/demo_0", "z/demo_0"]
    reasons = {row.episode: row.reason for row in dataset.ledger.rows if not (row.kept or row.frames)}
    assert sorted(reasons) == ["\\xff", "cut", "folder", "link", "text"]
    assert (reasons["\\xff"], reasons["link"]) == ("its name is not UTF-8", "a broken link")
    assert "truncated file" in reasons["cut"]
    assert "file signature not found" in reasons["text"]
    assert len(dataset.problems) == 5
    assert open_source(str(tmp_path / "d")).count == 7
    dataset.ledger.write(tmp_path / "ledger.parquet")


def test_damaged_image_skips_its_demonstration(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "lift.hdf5", {"demo_0": 9, "demo_1": 9})
    with h5py.File(path, "a") as file:
        observed = file["data/demo_0/obs"]
        del observed[CAMERA]
        observed.create_dataset(CAMERA, data=film(9), chunks=(1, 64, 64, 3), fletcher32=True)
        place = observed[CAMERA].id.get_chunk_info(7).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 5000] ^= 255
    path.write_bytes(data)
    assert list(skipped(path)) == ["demo_0"]
    assert "the HDF5 file cannot be read: " in skipped(path)["demo_0"]
    assert [clip.episode for clip in build(path).train] == ["demo_1"]
