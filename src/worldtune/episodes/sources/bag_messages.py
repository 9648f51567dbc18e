"""Camera messages of ROS recordings: rosbag2 folders, MCAP files and ROS 1 bags, through the `rosbags` package.

Shapes: H height, W width.
"""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from worldtune.episodes.picture_file import pixels_of
from worldtune.episodes.sources.bag_checks import check_files
from worldtune.episodes.sources.bag_limits import check_chunks, limit_unpacking
from worldtune.episodes.video_file import MAX_PIXELS
from worldtune.errors import DataError, first_line

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3}
TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "8UC3": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
}
READERS = {  # what the versions of rosbags read SQLite and Zstandard with
    "apsw": "Error",
    "sqlite3": "Error",
    "backports.zstd": "ZstdError",
    "compression.zstd": "ZstdError",
    "zstandard": "ZstdError",
}


@dataclass(frozen=True)
class BagTopics:
    """The topics of a recording: cameras with the times of their messages in ns, and others with their types."""

    cameras: dict[str, np.ndarray]
    others: dict[str, str]


@contextmanager
def opened(bag: Path) -> Iterator[Any]:
    """An open reader. Raises DataError when the package is missing or the recording cannot be read."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        mend = "pip install 'worldtune[sources]'."
        raise DataError("reading ROS recordings needs the rosbags package", where=str(bag), mend=mend) from error
    limit_unpacking()
    try:
        with AnyReader([bag], default_typestore=get_typestore(Stores.LATEST)) as reader:
            check_chunks(reader)
            yield reader
    except _faults() as error:
        what = f"the recording cannot be read: {first_line(error)}"
        raise DataError(what, where=str(bag), mend="Copy it again, or mend it with `ros2 bag reindex`.") from error


def _faults() -> tuple[type[Exception], ...]:
    """What the package and those it reads with raise of a damaged file, whose lengths and codes may be anything."""
    import struct

    from rosbags.highlevel import AnyReaderError
    from rosbags.rosbag1.reader import ReaderError as Reader1Error
    from rosbags.rosbag2.errors import ReaderError as Reader2Error

    its_own = (AnyReaderError, Reader1Error, Reader2Error)
    readers = tuple(getattr(sys.modules[module], name) for module, name in READERS.items() if module in sys.modules)
    lengths = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, MemoryError)
    return (*its_own, *readers, *lengths, struct.error, RuntimeError, EOFError, OSError)  # RuntimeError: LZ4's


@lru_cache(maxsize=64)
def topics_of(bag: Path, files: tuple[Path, ...], state: str) -> BagTopics:
    """The recording's topics; `state` is another whenever one of its `files` is. Raises DataError as `opened` does."""
    times: dict[str, list[int]] = {}
    others: dict[str, str] = {}
    check_files(bag, files)
    with opened(bag) as reader:
        cameras = [connection for connection in reader.connections if connection.msgtype in (RAW, COMPRESSED)]
        others = {c.topic: c.msgtype for c in reader.connections if c not in cameras}
        times = {connection.topic: [] for connection in cameras}
        for connection, stamp, _ in reader.messages(connections=cameras) if cameras else ():
            times[connection.topic].append(stamp)
    return BagTopics({topic: np.asarray(sorted(its), np.int64) for topic, its in times.items()}, others)


def read_messages(bag: Path, topic: str, stamps: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(stamp, picture) of the messages of rising `stamps`; of two of one stamp the first.

    Raises DataError when one cannot be decoded, or does not come in the order of the stamps.
    """
    left = deque(stamps)
    with opened(bag) as reader:
        connections = [connection for connection in reader.connections if connection.topic == topic]
        for connection, stamp, raw in reader.messages(connections, start=stamps[0], stop=stamps[-1] + 1):
            if left and stamp == left[0]:
                yield left.popleft(), decode_image(reader.deserialize(raw, connection.msgtype), f"{bag} {topic}")
    if left:
        what = "its messages are not in the order of their times"
        raise DataError(what, where=f"{bag} {topic}", mend="Put them in order with `ros2 bag convert`.")


def decode_image(message: Any, where: str) -> np.ndarray:
    """uint8 (H, W, 3) of a sensor_msgs Image or CompressedImage. Raises DataError for other encodings and damage."""
    mend = "Record it as JPEG or PNG (CompressedImage) or as rgb8, bgr8 or mono8 (Image)."
    if not hasattr(message, "encoding"):
        data = np.asarray(message.data, np.uint8)
        decoded = _decompressed(data) if 0 < pixels_of(data.tobytes()) <= MAX_PIXELS else None
        if decoded is None:
            raise DataError(f"a picture of format {message.format!r} cannot be decoded", where=where, mend=mend)
        if decoded.dtype != np.uint8:
            raise DataError(f"pictures are of {decoded.dtype}, not of 8 bits a colour", where=where, mend=mend)
        return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise DataError(f"pictures are encoded as {message.encoding!r}", where=where, mend=mend)
    H, W, step = message.height, message.width, message.step
    if not H * W or step < W * channels or len(message.data) != H * step:
        what = f"{len(message.data)} bytes are no picture of {H}×{W} {message.encoding}"
        raise DataError(what, where=where, mend="Record it again.")
    frame = np.asarray(message.data, np.uint8).reshape(H, step)[:, : W * channels].reshape(H, W, channels)
    code = TO_RGB.get(message.encoding)
    return frame if code is None else np.asarray(cv2.cvtColor(frame, code))


def _decompressed(data: np.ndarray) -> np.ndarray | None:
    """BGR, at the depth that it has; None when it is damaged or no picture."""
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if len(data) else None
    except cv2.error:
        return None
