import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from worldtune.data.episode import Episode
from worldtune.data.ledger import DEPTH, MASK
from worldtune.data.sources import open_source
from worldtune.errors import DataError

from ...reading import build, episode, frames, recordings
from ...videos import film

T = 20
SIM = {"dt": 0.01, "decimation": 5, "render_interval": 5, "num_envs": 1}


def write_isaac(path: Path, **env_args: Any) -> Path:
    """Write as Isaac Lab's hdf5_dataset_file_handler.py does: nested groups, all compressed."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        args = {"env_name": "Isaac-Stack-Cube-Franka-IK-Rel-Visuomotor-v0", "type": 2} | env_args
        data.attrs.update(total=2 * T, env_args=json.dumps(args))
        for number in range(2):
            demo = data.create_group(f"demo_{number}")
            demo.attrs.update(num_samples=T, success=True, seed=5)
            arrays: dict[str, np.ndarray] = {
                "actions": np.full((T, 7), number, np.float32),
                "processed_actions": np.zeros((T, 8), np.float32),
                "initial_state/articulation/robot/joint_position": np.zeros((1, 9), np.float32),
                "states/articulation/robot/joint_position": np.zeros((T, 9), np.float32),
                "obs/joint_pos": np.arange(9 * T, dtype=np.float32).reshape(T, 9),
                "obs/eef_pos": np.ones((T, 3), np.float32),
                "obs/object": np.zeros((T, 39), np.float32),
                "obs/datagen_info/eef_pose/franka": np.zeros((T, 4, 4), np.float32),
                "obs/table_cam": film(T, number),
                "obs/wrist_rgba": np.concatenate([film(T, 9), film(T)[..., :1]], axis=3),
                "obs/float_cam": film(T, number + 20).astype(np.float32) / 255,
                "obs/table_cam_depth": np.ones((T, 64, 64, 1), np.float32),
                "obs/distance_to_image_plane": np.ones((T, 64, 64, 1), np.float32),
                "obs/table_cam_segmentation": film(T),
                "obs/table_cam_normals": np.zeros((T, 64, 64, 3), np.float32),
            }
            for name, array in arrays.items():
                demo.create_dataset(name, data=array, compression="gzip")
    return path


def test_images_and_rows_equal_h5py(tmp_path: Path) -> None:
    path = write_isaac(tmp_path / "stack.hdf5", sim_args=SIM)
    with h5py.File(path) as file:
        right = file["data/demo_1/obs/table_cam"][:]
        joints, ends = file["data/demo_1/obs/joint_pos"][:], file["data/demo_1/obs/eef_pos"][:]
    found = [recording for recording in recordings(path, "table_cam") if isinstance(recording, Episode)]
    assert [(recording.name, recording.fps, recording.task) for recording in found] == [
        ("demo_0", 20, ""),
        ("demo_1", 20, ""),
    ]
    assert np.array_equal(frames(found[1]), right)
    assert np.array_equal(frames(episode(path, "float_cam")), film(T, 20))
    assert np.array_equal(frames(episode(path, "wrist_rgba")), film(T, 9))
    assert found[1].states is not None
    assert np.array_equal(found[1].states, np.concatenate([ends, joints], axis=1))
    assert found[1].actions is not None
    assert (found[1].actions == 1).all()


def test_renderer_maps_do_not_count_as_skipped(tmp_path: Path) -> None:
    path = write_isaac(tmp_path / "stack.hdf5", sim_args=SIM)
    dataset = build(path, caption="a robot", max_skipped=0)
    assert {row.camera: row.reason for row in dataset.ledger.rows if not row.kept and not row.first_frame} == {
        "distance_to_image_plane": DEPTH,
        "table_cam_depth": DEPTH,
        "table_cam_normals": MASK,
        "table_cam_segmentation": MASK,
    }
    assert (dataset.faults, dataset.problems) == ([], [])


def test_demonstration_without_common_states_is_a_warning(tmp_path: Path) -> None:
    path = write_isaac(tmp_path / "stack.hdf5", sim_args=SIM)
    with h5py.File(path, "a") as file:
        file.copy("data/demo_0", "data/demo_2")
        del file["data/demo_1/obs/joint_pos"]
    message = "its states and actions are actions, eef_pos; most recordings have actions, eef_pos, joint_pos"
    assert [(problem.where, problem.what) for problem in open_source(str(path)).problems()] == [
        ("stack.hdf5 demo_1", message)
    ]


def test_missing_physics_rate_must_be_given(tmp_path: Path) -> None:
    path = write_isaac(tmp_path / "stack.hdf5")
    with pytest.raises(DataError, match=r"does not state its frame rate .*data\.recorded_fps"):
        open_source(str(path))
    assert {found.fps for found in recordings(path, "table_cam", fps=20)} == {20}


@pytest.mark.parametrize("off", [np.float32(0.5), np.float32("nan")])
def test_floats_outside_0_to_1_skip_the_camera(tmp_path: Path, off: np.float32) -> None:
    """Isaac Lab subtracts the mean from normalized images."""
    path = write_isaac(tmp_path / "stack.hdf5", sim_args=SIM)
    with h5py.File(path, "a") as file:
        file["data/demo_0/obs/float_cam"][...] -= off
    (reason,) = (recording.reason for recording in recordings(path, "float_cam") if not isinstance(recording, Episode))
    assert reason.startswith("images are floats from ")
    assert reason.endswith(", not from 0 to 1")
