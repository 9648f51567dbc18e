"""ROS recordings of numbered frames, as ROS writes them.

Shapes: H height, W width.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.LATEST)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
BEGIN = 1_700_000_000_000_000_000  # ns
PADDING = 5  # bytes after each row
FROM_RGB = {
    "rgb8": None,
    "bgr8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGB2RGBA,
    "bgra8": cv2.COLOR_RGB2BGRA,
    "mono8": cv2.COLOR_RGB2GRAY,
}

Message = tuple[float, Any]
"""The seconds after `BEGIN`, and an image or a ROS message."""


def shot(frames_THWC: np.ndarray, fps: float = 16, start: float = 0) -> list[Message]:
    """Return the frames as messages recorded from `start` seconds on."""
    return [(start + t / fps, frame_HWC) for t, frame_HWC in enumerate(frames_THWC)]


def write_bag(
    path: Path,
    topics: Mapping[str, Sequence[Message]],
    encoding: str = "png",
    storage: Literal["mcap", "sqlite3"] = "mcap",
    zipped: Literal["", "storage", "file", "message"] = "",
) -> Path:
    """Write a ROS 1 recording if `path` ends in .bag, one file if in .mcap or .db3, else a rosbag2 folder."""
    if path.suffix == ".bag":
        _write_ros1(path, topics, encoding, zipped)
        return path
    lone = path.suffix in (".mcap", ".db3")
    writer = Writer(path.with_suffix("") if lone else path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    if zipped:
        writer.set_compression(CompressionMode[zipped.upper()], CompressionFormat.ZSTD)
    with writer:
        for topic, messages in topics.items():
            connection = None
            for seconds, shown in messages:
                message = picture(shown, encoding) if isinstance(shown, np.ndarray) else shown
                connection = connection or writer.add_connection(topic, message.__msgtype__, typestore=ROS2)
                writer.write(connection, _ns(seconds), ROS2.serialize_cdr(message, message.__msgtype__))
            if not messages:
                writer.add_connection(topic, COMPRESSED, typestore=ROS2)
    if lone:
        (path.with_suffix("") / path.name).rename(path)
        shutil.rmtree(path.with_suffix(""))
    return path


def _write_ros1(path: Path, topics: Mapping[str, Sequence[Message]], encoding: str, zipped: str) -> None:
    writer = Writer1(path)
    if zipped:
        writer.set_compression(Writer1.CompressionFormat.LZ4)
    with writer:
        for topic, messages in topics.items():
            connection = None
            for seconds, shown in messages:
                message = picture(shown, encoding, ROS1) if isinstance(shown, np.ndarray) else shown
                connection = connection or writer.add_connection(topic, message.__msgtype__, typestore=ROS1)
                writer.write(connection, _ns(seconds), ROS1.serialize_ros1(message, message.__msgtype__))


def _ns(seconds: float) -> int:
    return BEGIN + round(seconds * 1e9)


def header(store: Any = ROS2, taken: int = 0) -> Any:
    """Return a std_msgs/Header with the time `taken` in ns."""
    time = store.types["builtin_interfaces/msg/Time"](*divmod(taken, 10**9))
    return store.types["std_msgs/msg/Header"](*([0] if store is ROS1 else []), time, "camera")


def stamped(
    frames_THWC: np.ndarray, received: Sequence[float], taken: Sequence[float], store: Any = ROS2
) -> list[Message]:
    """Return the frames as messages received and taken at these seconds after `BEGIN`."""
    pairs = zip(frames_THWC, received, taken, strict=True)
    return [(came, picture(frame_HWC, "png", store, _ns(time))) for frame_HWC, came, time in pairs]


def joints(names: Sequence[str], positions: Sequence[float], taken: int = 0) -> Any:
    """Return a sensor_msgs/JointState."""
    empty = np.empty(0)
    return ROS2.types["sensor_msgs/msg/JointState"](
        header(ROS2, taken), list(names), np.array(positions, float), empty, empty
    )


def picture(frame_HWC: np.ndarray, encoding: str, store: Any = ROS2, taken: int = 0) -> Any:
    """Return a CompressedImage for png and formats with a semicolon, else an Image with bytes after each row."""
    head = header(store, taken)
    if ";" in encoding:
        shown = frame_HWC[..., ::-1] if frame_HWC.ndim == 3 else frame_HWC
        data = cv2.imencode(".png", shown)[1].reshape(-1)
        before = np.zeros(12 if "compressedDepth" in encoding else 0, np.uint8)
        return store.types[COMPRESSED](head, encoding, np.concatenate([before, data]))
    if encoding == "png":
        data = cv2.imencode(".png", frame_HWC[..., ::-1] if frame_HWC.ndim == 3 else frame_HWC)[1]
        return store.types[COMPRESSED](head, "png", data)
    H, W = frame_HWC.shape[:2]
    code = FROM_RGB.get(encoding)
    pixels = frame_HWC if code is None else cv2.cvtColor(frame_HWC, code)
    written = np.ascontiguousarray(pixels).reshape(H, -1).view(np.uint8)
    rows = np.full((H, written.shape[1] + PADDING), 99, np.uint8)
    rows[:, :-PADDING] = written
    return store.types[IMAGE](head, H, W, encoding, 0, rows.shape[1], rows.reshape(-1))
