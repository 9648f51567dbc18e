"""Joint states of ROS recordings as rows of states: positions by joint, at the times of the frames.

Shapes: T messages, F frames, J joints.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from worldtune.data.sources.rosbag.times import MessageTimes

Joints = dict[str, tuple[np.ndarray, np.ndarray]]
"""By joint, its rising times in ns, and its positions."""


def read_joints(message_times: MessageTimes, received: Sequence[tuple[int, Any]]) -> Joints:
    """Return the joints of a topic's sensor_msgs/JointState messages; a message may have only some of them.

    A message with unequal numbers of names and positions is ignored: it may have only velocities.
    """
    times_T, _ = message_times.times()
    series_by_joint: dict[str, tuple[list[int], list[float]]] = {}
    messages = [message for _, message in sorted(received, key=lambda pair: pair[0])]
    for time, message in zip(times_T.tolist(), messages, strict=True):
        if len(message.name) != len(message.position):
            continue
        for name, position in zip(message.name, message.position, strict=True):
            times, positions = series_by_joint.setdefault(name, ([], []))
            times.append(time)
            positions.append(float(position))
    return {
        name: (np.asarray(times), np.asarray(series, np.float32)) for name, (times, series) in series_by_joint.items()
    }


def name_joints(topics: Mapping[str, Joints]) -> Joints:
    """Return the joints of all topics by name; with several topics, the topic precedes the name."""
    if len(topics) == 1:
        return dict(next(iter(topics.values())))
    return {f"{topic}/{name}": series for topic, joints in topics.items() for name, series in joints.items()}


def sample_joints(joints: Joints, names: Iterable[str], times_F: np.ndarray) -> np.ndarray:
    """Return float32 (F, J): each joint's position nearest in time to each frame; interpolation fails at ±180°."""
    return np.stack([_nearest(*joints[name], times_F) for name in names], axis=1)


def _nearest(times_T: np.ndarray, positions_T: np.ndarray, times_F: np.ndarray) -> np.ndarray:
    halves = times_T[:-1] + np.diff(times_T) // 2
    return positions_T[np.searchsorted(halves, times_F, side="left")]
