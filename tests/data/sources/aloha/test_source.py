from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from worldtune.data.episode import Episode
from worldtune.data.ledger import DEPTH
from worldtune.data.sources import open_source
from worldtune.errors import DataError

from ...reading import build, episode, frames, numbers, recordings, reported, skipped
from ...videos import film

T = 20


def packed(frames_THWC: np.ndarray) -> list[np.ndarray]:
    return [
        cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].reshape(-1) for frame in frames_THWC
    ]


def padded(frames_THWC: np.ndarray) -> np.ndarray:
    """Return JPEGs as record_episodes.py stores them: uint8 (T, bytes), padded with zeros."""
    parts = packed(frames_THWC)
    rows = np.zeros((len(parts), max(map(len, parts))), np.uint8)
    for row, data in zip(rows, parts, strict=True):
        row[: len(data)] = data
    return rows


def write_aloha(path: Path, tag: int = 0, images: dict[str, Any] | None = None, **attributes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as root:
        root.attrs.update({"sim": False, "compress": False} | attributes)
        for name, data in (images or {"cam_high": film(T, tag)}).items():
            root[f"observations/images/{name}"] = data
        root["observations/qpos"] = np.arange(T * 14, dtype=np.float64).reshape(T, 14)
        root["observations/qvel"] = np.zeros((T, 14))
        root["action"] = np.full((T, 14), tag, np.float64)
    return path


def test_each_file_is_an_episode(tmp_path: Path) -> None:
    for number in range(3):
        write_aloha(tmp_path / f"d/episode_{number}.hdf5", number, {"cam_high": film(T, number), "cam_low": film(T, 9)})
    source = open_source(str(tmp_path / "d"))
    assert (source.kind, source.cameras, source.count, source.tasks) == ("ALOHA HDF5", ["cam_high", "cam_low"], 3, [])
    found = [recording for recording in recordings(tmp_path / "d", "cam_high") if isinstance(recording, Episode)]
    assert [(recording.name, recording.session, recording.fps) for recording in found] == [
        (f"episode_{n}", "d", 50) for n in range(3)
    ]
    assert {recording.note for recording in found} == {"50 fps, as ALOHA's constants say"}
    for number, recording in enumerate(found):
        assert np.array_equal(frames(recording), film(T, number))
        assert recording.states is not None
        assert np.array_equal(recording.states, np.arange(T * 14).reshape(T, 14))
        assert recording.actions is not None
        assert (recording.actions == number).all()
    assert source.problems() == []
    assert len(build(tmp_path / "d", caption="a robot", cameras=["cam_high"], fps=25).train) == 3


def test_file_without_common_states_is_a_warning(tmp_path: Path) -> None:
    for number in range(3):
        write_aloha(tmp_path / f"d/episode_{number}.hdf5", number)
    with h5py.File(tmp_path / "d/episode_1.hdf5", "a") as root:
        del root["observations/qpos"]
    (problem,) = open_source(str(tmp_path / "d")).problems()
    message = "its states and actions are action; most recordings have action, qpos"
    assert (problem.where, problem.what) == ("episode_1.hdf5", message)


def test_given_rate_is_used(tmp_path: Path) -> None:
    (found,) = recordings(write_aloha(tmp_path / "e.hdf5"), fps=30)
    assert isinstance(found, Episode)
    assert (found.fps, found.note) == (30, "")


@pytest.mark.parametrize("form", ["padded", "strings", "lengths of their own"])
def test_encoded_images_equal_the_stock_reader(tmp_path: Path, form: str) -> None:
    colored = film(T) // np.array([1, 2, 4], np.uint8)
    data: Any = padded(colored)
    if form == "strings":
        data = np.array([part.tobytes() for part in packed(colored)])
    path = write_aloha(tmp_path / "e.hdf5", 0, {"cam_high": film(1)}, compress=True)
    with h5py.File(path, "a") as root:
        del root["observations/images/cam_high"]
        if form == "lengths of their own":
            stored = root.create_dataset("observations/images/cam_high", (T,), h5py.vlen_dtype(np.uint8))
            for number, part in enumerate(packed(colored)):
                stored[number] = part
        else:
            root["observations/images/cam_high"] = data
    found = episode(path, "cam_high")
    with h5py.File(path) as root:
        rows = [np.frombuffer(row, np.uint8) for row in root["observations/images/cam_high"][:]]
        right = [cv2.cvtColor(cv2.imdecode(row, 1), cv2.COLOR_BGR2RGB) for row in rows]  # as openpi and LeRobot do
    assert np.array_equal(frames(found), np.stack(right))
    assert numbers(found) == list(range(T))
    assert found.frames == T
    assert (found.height, found.width) == (64, 64)
    assert [what for _, _, what in reported(path)] == [
        "its JPEGs are decoded as stored; the first ALOHA scripts stored red and blue swapped: check --sheet"
    ]


def test_depth_is_skipped_and_the_task_is_read(tmp_path: Path) -> None:
    images = {"cam_high": film(T), "cam_depth": film(T)[..., 0].astype(np.uint16)}
    path = write_aloha(tmp_path / "e.hdf5", 0, images, language_instruction="open the door")
    assert {recording.camera: getattr(recording, "reason", "") for recording in recordings(path)} == {
        "cam_depth": DEPTH,
        "cam_high": "",
    }
    assert open_source(str(path)).tasks == ["open the door"]
    dataset = build(path, max_skipped=0, fps=25)
    assert (dataset.faults, [clip.caption for clip in dataset.train]) == ([], ["open the door"])


def test_damaged_file_is_skipped_alone(tmp_path: Path) -> None:
    for name in ("fine", "cut", "other", "short"):
        write_aloha(tmp_path / f"d/{name}.hdf5")
    (tmp_path / "d/cut.hdf5").write_bytes((tmp_path / "d/fine.hdf5").read_bytes()[:9000])
    with h5py.File(tmp_path / "d/other.hdf5", "w") as other:
        other["numbers"] = [1, 2]
    with h5py.File(tmp_path / "d/short.hdf5", "a") as short:
        del short["action"]
        short["action"] = np.zeros((T - 1, 14))
    broken = padded(film(T))
    broken[7, :] = 0
    write_aloha(tmp_path / "d/torn.hdf5", 0, {"cam_high": broken}, compress=True)
    reasons = skipped(tmp_path / "d")
    assert sorted(reasons) == ["cut", "other", "torn"]
    assert "truncated file" in reasons["cut"]
    assert reasons["other"] == "the group observations/images is missing"
    assert reasons["torn"] == "the image of frame 7 cannot be decoded"
    rows = [row for row in build(tmp_path / "d", caption="a", fps=25).ledger.rows if row.episode == "short"]
    assert [row.reason for row in rows] == [f"action rows and frames differ ({T - 1} and {T})"]
    assert ("error", "short.hdf5", f"cam_high: {T} frames, but rows: qpos {T}, action {T - 1}") in reported(
        tmp_path / "d"
    )


def test_folder_without_images_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = write_aloha(tmp_path / "d/e.hdf5", 0, {"cam_high": np.zeros((T, 5))})
    with pytest.raises(DataError, match=r"not images as uint8 .*float64 \(20, 5\) \[.*e\.hdf5\]"):
        open_source(str(path.parent))


def test_links_out_of_the_file_are_not_followed(tmp_path: Path) -> None:
    write_aloha(tmp_path / "other.h5")
    path = write_aloha(tmp_path / "d/e.hdf5", 0, {"cam_high": film(T), "cam_low": film(T)})
    with h5py.File(path, "a") as root:
        del root["observations/images/cam_low"]
        root["observations/images/cam_low"] = h5py.ExternalLink("../other.h5", "/observations/images/cam_high")
    assert skipped(path) == {"e": "a link to another file (cam_low)"}


def test_unread_arrays_are_a_warning(tmp_path: Path) -> None:
    path = write_aloha(tmp_path / "e.hdf5")
    with h5py.File(path, "a") as root:
        root["base_action"] = np.zeros((T, 2))
    assert reported(path) == [("warning", "e.hdf5", "not read: base_action")]
