"""Readers of ROS recordings, compared with the rosbags package itself.

Shapes: T frames, H height, W width.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing.attempt import attempt
from benchmarks.fuzzing.datasets import Recording, agree, dataset_reader
from benchmarks.fuzzing.pictures import FPS, LENGTH, clip
from benchmarks.fuzzing.reader import Reader, RefusedError

TOPIC, JOINTS = "/front", "/joint_states"
JOINT_STATE = "sensor_msgs/msg/JointState"
BEGIN = 1_700_000_000_000_000_000  # ns
STEP = 1_000_000_000 // FPS


def frames_of_run(number: int) -> np.ndarray:
    return clip(number)[:, ::2, ::2]


def _write_ros2(folder: Path, storage: str) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.LATEST)
    for number in range(2):
        with Writer(folder / "d" / f"run{number}", version=9, storage_plugin=StoragePlugin[storage]) as writer:
            kind = "sensor_msgs/msg/Image"
            topic = writer.add_connection(TOPIC, kind, typestore=store)
            for t, frame_HWC in enumerate(frames_of_run(number)):
                writer.write(topic, BEGIN + t * STEP, store.serialize_cdr(_image(store, frame_HWC), kind))
            moving = writer.add_connection(JOINTS, JOINT_STATE, typestore=store)
            for n in range(3 * LENGTH):  # three times as often as the images, and a bit later
                at, message = BEGIN + n * STEP // 3 + STEP // 30, _joints(store, number + n / 100)
                writer.write(moving, at, store.serialize_cdr(message, JOINT_STATE))


def _write_ros1(folder: Path, storage: str) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    for number in range(2):
        with Writer(folder / "d" / f"run{number}.bag") as writer:
            kind = "sensor_msgs/msg/Image"
            topic = writer.add_connection(TOPIC, kind, typestore=store)
            for t, frame_HWC in enumerate(frames_of_run(number)):
                writer.write(topic, BEGIN + t * STEP, store.serialize_ros1(_image(store, frame_HWC, 0), kind))


def _image(store: Any, frame_HWC: np.ndarray, *sequence: int) -> Any:
    header = store.types["std_msgs/msg/Header"](*sequence, store.types["builtin_interfaces/msg/Time"](0, 0), "front")
    H, W, _ = frame_HWC.shape
    return store.types["sensor_msgs/msg/Image"](
        header, H, W, "rgb8", 0, 3 * W, np.ascontiguousarray(frame_HWC).reshape(-1)
    )


def _joints(store: Any, position: float) -> Any:
    header, none = store.types["std_msgs/msg/Header"](store.types["builtin_interfaces/msg/Time"](0, 0), ""), np.empty(0)
    return store.types[JOINT_STATE](header, ["a", "b"], np.array([position, -position]), none, none)


def _make(storage: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "d").mkdir()
        (_write_ros1 if storage == "ROS1" else _write_ros2)(folder, storage)

    return make


def _expect_recordings(folder: Path) -> dict[str, Any]:
    """Return every recording that the package reads completely; the reader must not return any other."""
    read = {bag.stem: attempt(partial(_recording, bag)) for bag in sorted((folder / "d").iterdir())}
    return {f"{name} {TOPIC}": message for name, message in read.items() if isinstance(message, Recording)}


def _recording(bag: Path) -> Recording | None:
    """Return the first message of each time, in order of time; None if the times are uneven."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    if any(not file.is_file() for file in (bag.iterdir() if bag.is_dir() else (bag,))):
        return None  # the package would wait for a pipe's writer
    with AnyReader([bag], default_typestore=get_typestore(Stores.LATEST)) as reader:
        connections = [connection for connection in reader.connections if connection.topic == TOPIC]
        raw: dict[int, tuple[Any, str]] = {}
        for message, stamp, data in reader.messages(connections):
            raw.setdefault(stamp, (data, message.msgtype))
        moved = [(at, reader.deserialize(data, JOINT_STATE)) for c, at, data in reader.messages() if c.topic == JOINTS]
        frames = [_decode_image(reader.deserialize(*raw[stamp])) for stamp in sorted(raw)]
    return Recording(np.stack(frames), FPS, states_TS=_states(moved, sorted(raw))) if is_regular(raw) else None


def _states(moved: Sequence[tuple[int, Any]], times: Sequence[int]) -> np.ndarray | None:
    """Return float32 (T, joints): each joint's position in its message nearest to each time."""
    joints: dict[str, dict[int, float]] = {}
    for at, message in moved:
        for name, position in zip(message.name, message.position, strict=True):
            joints.setdefault(name, {})[at] = position
    columns = [
        [message[min(message, key=lambda at: (abs(at - time), at))] for time in times] for message in joints.values()
    ]
    return np.array(columns, np.float32).T if columns else None


def is_regular(stamps: Iterable[int]) -> bool:
    """Return whether the times (ns) lie on a grid, up to some jitter and gaps, which are not filled."""
    steps = [after - before for before, after in pairwise(sorted(stamps))]
    return all(abs(step - STEP) < STEP // 4 or step > 10 * STEP for step in steps)


def _decode_image(message: Any) -> np.ndarray:
    if message.encoding not in ("rgb8", "bgr8"):
        raise RefusedError(f"it is encoded as {message.encoding}")
    H, W = message.height, message.width
    frame = np.asarray(message.data, np.uint8).reshape(H, message.step)[:, : 3 * W].reshape(H, W, 3)
    return frame if message.encoding == "rgb8" else frame[..., ::-1]


def _reader(name: str, storage: str) -> Reader:
    return Reader(name, "the rosbags package itself, message by message", _make(storage),
                  dataset_reader("d", exact=True, height=32, width=32), _expect_recordings, agree=agree)  # fmt: skip


READERS = (_reader("ROS 2, MCAP", "MCAP"), _reader("ROS 2, SQLite", "SQLITE3"), _reader("ROS 1", "ROS1"))
