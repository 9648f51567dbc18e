"""Readers of ROS recordings, beside the rosbags package itself.

Shapes: T frames, H height, W width.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.bench.fuzzing.attempt import attempt
from worldtune.bench.fuzzing.datasets import Recording, agree, reading
from worldtune.bench.fuzzing.pictures import FPS, clip
from worldtune.bench.fuzzing.reader import Reader, RefusedError

TOPIC = "/front"
BEGIN = 1_700_000_000_000_000_000  # ns
STEP = 1_000_000_000 // FPS


def _frames(number: int) -> np.ndarray:
    return clip(number)[:, ::2, ::2]


def _write_ros2(folder: Path, storage: str) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.LATEST)
    for number in range(2):
        with Writer(folder / "d" / f"run{number}", version=9, storage_plugin=StoragePlugin[storage]) as writer:
            kind = "sensor_msgs/msg/Image"
            topic = writer.add_connection(TOPIC, kind, typestore=store)
            for t, frame_HWC in enumerate(_frames(number)):
                writer.write(topic, BEGIN + t * STEP, store.serialize_cdr(_image(store, frame_HWC), kind))


def _write_ros1(folder: Path, storage: str) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    for number in range(2):
        with Writer(folder / "d" / f"run{number}.bag") as writer:
            kind = "sensor_msgs/msg/Image"
            topic = writer.add_connection(TOPIC, kind, typestore=store)
            for t, frame_HWC in enumerate(_frames(number)):
                writer.write(topic, BEGIN + t * STEP, store.serialize_ros1(_image(store, frame_HWC, 0), kind))


def _image(store: Any, frame_HWC: np.ndarray, *sequence: int) -> Any:
    header = store.types["std_msgs/msg/Header"](*sequence, store.types["builtin_interfaces/msg/Time"](0, 0), "front")
    H, W, _ = frame_HWC.shape
    return store.types["sensor_msgs/msg/Image"](
        header, H, W, "rgb8", 0, 3 * W, np.ascontiguousarray(frame_HWC).reshape(-1)
    )


def _make(storage: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "d").mkdir()
        (_write_ros1 if storage == "ROS1" else _write_ros2)(folder, storage)

    return make


def _recordings_of(folder: Path) -> dict[str, Any]:
    """Every recording that the package reads whole; another the reader must not have either."""
    read = {bag.stem: attempt(partial(_recording, bag)) for bag in sorted((folder / "d").iterdir())}
    return {f"{name} {TOPIC}": its for name, its in read.items() if isinstance(its, Recording)}


def _recording(bag: Path) -> Recording | None:
    """The first message of each time, in the order of the times, which must be even."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    if any(not file.is_file() for file in (bag.iterdir() if bag.is_dir() else (bag,))):
        return None  # the package would wait for a pipe's writer
    with AnyReader([bag], default_typestore=get_typestore(Stores.LATEST)) as reader:
        connections = [each for each in reader.connections if each.topic == TOPIC]
        raw: dict[int, tuple[Any, str]] = {}
        for its, stamp, data in reader.messages(connections):
            raw.setdefault(stamp, (data, its.msgtype))
        frames = [_pixels(reader.deserialize(*raw[stamp])) for stamp in sorted(raw)]
    is_even = {after - before for before, after in pairwise(sorted(raw))} == {STEP}
    return Recording(np.stack(frames), FPS) if is_even else None


def _pixels(message: Any) -> np.ndarray:
    if message.encoding not in ("rgb8", "bgr8"):
        raise RefusedError(f"it is encoded as {message.encoding}")
    H, W = message.height, message.width
    frame = np.asarray(message.data, np.uint8).reshape(H, message.step)[:, : 3 * W].reshape(H, W, 3)
    return frame if message.encoding == "rgb8" else frame[..., ::-1]


def _reader(name: str, storage: str) -> Reader:
    return Reader(name, "the rosbags package itself, message by message", _make(storage),
                  reading("d", exact=True, height=32, width=32), _recordings_of, agree=agree)  # fmt: skip


READERS = (_reader("ROS 2, MCAP", "MCAP"), _reader("ROS 2, SQLite", "SQLITE3"), _reader("ROS 1", "ROS1"))
