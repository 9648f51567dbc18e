"""Readers of the HDF5 files of ALOHA and Isaac Lab, compared with h5py and OpenCV.

Shapes: T frames, S state and A action dimensions.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.fuzzing.attempt import attempt
from benchmarks.fuzzing.datasets import (
    COUNT,
    HDF5_FAULTS,
    Recording,
    agree,
    dataset_reader,
    decode_text,
    read_array,
    read_rows,
)
from benchmarks.fuzzing.oracle import parse_json
from benchmarks.fuzzing.pictures import FPS, LENGTH, clip
from benchmarks.fuzzing.reader import Reader, RefusedError

SIM = {"dt": 1 / (4 * FPS), "decimation": 4}
ROWS = np.arange(LENGTH * 6, dtype=np.float64).reshape(LENGTH, 6)


def _make_aloha(folder: Path) -> None:
    """Write files as record_episodes.py does: one camera of pixels, one of padded JPEGs."""
    import h5py

    (folder / "d").mkdir()
    for number in range(COUNT):
        packed = [cv2.imencode(".jpg", frame_HWC[..., ::-1])[1].reshape(-1) for frame_HWC in clip(number + COUNT)]
        padded = np.zeros((LENGTH, max(map(len, packed))), np.uint8)
        for row, data in zip(padded, packed, strict=True):
            row[: len(data)] = data
        with h5py.File(folder / f"d/episode_{number}.hdf5", "w", libver="earliest") as file:
            file.attrs.update({"sim": False, "compress": True, "task": f"lift {number}"})
            file["observations/images/cam_high"], file["observations/images/cam_wrist"] = clip(number), padded
            file["observations/qpos"], file["action"] = ROWS + number, ROWS - number


def _expect_aloha(folder: Path) -> dict[str, Any]:
    """Return every camera that h5py and OpenCV read; the reader must not return any other."""
    found: dict[str, Any] = {}
    for file in sorted((folder / "d").glob("*.hdf5")):
        for camera in ("cam_high", "cam_wrist"):
            recording = attempt(partial(_read_aloha, file, camera))
            found |= {f"{file.stem} {camera}": recording} if isinstance(recording, Recording) else {}
    return found


def _read_aloha(path: Path, camera: str) -> Recording:
    import h5py

    if not path.is_file():
        raise RefusedError("h5py would wait for a pipe's writer")
    with h5py.File(path, "r") as file:
        frames = read_array(file, f"observations/images/{camera}")
        states_TS, actions_TA = read_rows(file, "observations/qpos"), read_rows(file, "action")
        task = decode_text(file.attrs.get("task", ""))
    if frames.ndim == 2:
        frames = np.stack([np.asarray(cv2.imdecode(row, cv2.IMREAD_COLOR))[..., ::-1] for row in frames])
    return Recording(frames, 50, (task,), states_TS, actions_TA)


def _make_isaac(folder: Path) -> None:
    """Write a file as hdf5_dataset_file_handler.py does: nested groups, all compressed, several arrays observed."""
    import h5py

    with h5py.File(folder / "stack.hdf5", "w", libver="earliest") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Isaac-Stack-Cube-v0", "type": 2, "sim_args": SIM})
        for number in range(COUNT):
            arrays = {
                "actions": ROWS + number, "obs/joint_pos": ROWS - number, "obs/eef_pos": ROWS[:, :3],
                "obs/table_cam": clip(number), "states/articulation/robot/joint_position": ROWS,
                "obs/wrist_cam": clip(number + COUNT).astype(np.float32) / 255,
            }  # fmt: skip
            for name, array in arrays.items():
                data.create_dataset(f"demo_{number}/{name}", data=array, compression="gzip")


def _expect_isaac(folder: Path) -> dict[str, Any]:
    import h5py

    try:
        with h5py.File(folder / "stack.hdf5", "r") as file:
            sim = parse_json(decode_text(file["data"].attrs["env_args"]))["sim_args"]
            rate = 1 / (sim["dt"] * sim["decimation"])
            return {
                f"{name} {camera}": _read_demo(demo, camera, rate)
                for name, demo in file["data"].items()
                for camera in ("table_cam", "wrist_cam")
            }
    except HDF5_FAULTS as error:
        raise RefusedError(f"it cannot be understood: {error!r}") from error


def _read_demo(demo: Any, camera: str, rate: float) -> Recording:
    frames = read_array(demo, f"obs/{camera}")
    if frames.dtype.kind == "f":
        frames = np.rint(frames * 255).astype(np.uint8)
    return Recording(frames, rate, ("",), read_rows(demo, "obs/eef_pos", "obs/joint_pos"), read_rows(demo, "actions"))


READERS = (
    Reader("ALOHA HDF5", "h5py and OpenCV", _make_aloha, dataset_reader("d", exact=True), _expect_aloha, agree=agree),
    Reader("Isaac Lab HDF5", "h5py", _make_isaac, dataset_reader("stack.hdf5", exact=True), _expect_isaac, agree=agree),
)
