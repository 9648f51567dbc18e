"""The topics of ROS recordings and the messages of their cameras."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.data.sources.depth import is_depth_message
from worldtune.data.sources.rosbag import foxglove
from worldtune.data.sources.rosbag.checks import check_files
from worldtune.data.sources.rosbag.images import decode_image_message, is_depth_image
from worldtune.data.sources.rosbag.joints import Joints, read_joints
from worldtune.data.sources.rosbag.reader import BagReader, open_bag, reader_errors
from worldtune.data.sources.rosbag.times import MessageTimes, collect_times
from worldtune.errors import DataError

IMAGE_TYPES = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "foxglove_msgs/msg/RawImage",
    "foxglove_msgs/msg/CompressedImage",
    foxglove.RAW,
    foxglove.COMPRESSED,
)
JOINT_TYPE = "sensor_msgs/msg/JointState"


@dataclass(frozen=True, eq=False)
class BagTopics:
    """The topics of a recording: camera messages, depth topics, joints, and the types of other topics.

    `depth` topics are among the cameras.
    """

    cameras: dict[str, MessageTimes]
    depth: frozenset[str]
    joints: dict[str, Joints]
    others: dict[str, str]


@lru_cache(maxsize=64)
def read_topics(bag: Path, files: tuple[Path, ...], state: str) -> BagTopics:
    """Return the recording's topics; `state` changes with any of its `files`. Raise DataError as `open_bag` does."""
    check_files(bag, files)
    with open_bag(bag) as reader:
        read = [connection for connection in reader.connections if connection.msgtype in (*IMAGE_TYPES, JOINT_TYPE)]
        others = {c.topic: c.msgtype for c in reader.connections if c not in read}
        cameras = {connection.topic for connection in read if connection.msgtype != JOINT_TYPE}
        times: dict[str, list[tuple[int, int]]] = {connection.topic: [] for connection in read}
        joints: dict[str, list[Any]] = {connection.topic: [] for connection in read if connection.msgtype == JOINT_TYPE}
        depth = {topic for topic in cameras if is_depth_message(topic, "")}
        for connection, received, raw in reader.messages(connections=read) if read else ():
            topic = connection.topic
            if not times[topic] and topic in cameras and _begins_with_depth(reader, connection, raw):
                depth.add(topic)
            times[topic].append((received, reader.stamp(connection, raw)))
            if topic in joints:
                joints[topic].append((received, reader.deserialize(connection, raw)))
    message_times = {topic: collect_times(pairs) for topic, pairs in times.items()}
    return BagTopics(
        {topic: message_times[topic] for topic in times if topic in cameras},
        frozenset(depth),
        {topic: read_joints(message_times[topic], pairs) for topic, pairs in joints.items()},
        others,
    )


def _begins_with_depth(reader: BagReader, connection: Any, raw: bytes) -> bool:
    """Return whether the topic's first message is a depth map; decoding reports one that cannot be read."""
    try:
        return is_depth_image(connection.topic, reader.deserialize(connection, raw))
    except reader_errors() + (DataError,):  # noqa: RUF005
        return False


def read_images(
    bag: Path, topic: str, wanted: Sequence[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Yield the images of the messages `wanted`, each after its (time of receipt, number among those of that time).

    Raise DataError if one cannot be decoded, or the messages are not in the order of their times.
    """
    remaining = deque(wanted)
    with open_bag(bag) as reader:
        connections = [connection for connection in reader.connections if connection.topic == topic]
        last, number = -1, 0
        for connection, received, raw in reader.messages(connections, start=wanted[0][0], stop=wanted[-1][0] + 1):
            last, number = received, number + 1 if received == last else 0
            if remaining and (received, number) == remaining[0]:
                yield remaining.popleft(), decode_image_message(reader.deserialize(connection, raw), f"{bag} {topic}")
    if remaining:
        what = "its messages are not sorted by time"
        raise DataError(what, where=f"{bag} {topic}", hint="Sort them with `ros2 bag convert`.")
