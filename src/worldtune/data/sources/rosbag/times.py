"""The times at which a ROS topic's images were taken: the stamps in their headers, or the receive times.

If a recorder waits for its disk, the receive times come in bursts. The stamp in a message's header (std_msgs/Header;
for cameras REP 145, "the time that the image was taken") stays correct.

Shapes: T messages.
"""

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np

from worldtune.core.ranges import MAX_FPS
from worldtune.data.sources.rosbag.resample import estimate_rate

OTHER_CLOCK_NS = 5_000_000_000  # ns between stamp and receipt: above this, they are from two clocks
MAX_SPEED_RATIO = 10  # a clock that is faster or slower than the receipt by more does not belong to the recording
Clock = Literal["header stamps", "receive times"]


@dataclass(frozen=True, eq=False)
class MessageTimes:
    """A topic's messages in the order of receipt.

    received (T,): ns; number (T,): number among the messages of that time; stamped (T,): ns by the header, 0 if it
    has none.
    """

    received: np.ndarray
    number: np.ndarray
    stamped: np.ndarray

    def times(self) -> tuple[np.ndarray, Clock]:
        """Return when each was taken, in ns: by the headers if their stamps rise as a camera's do, else by receipt.

        Stamps of another clock (of a sensor, of a simulation) are moved to that of the receipt, which topics share.
        """
        stamped_T = self.stamped
        if not (_is_increasing(stamped_T) and _has_same_pace(stamped_T, self.received)):
            return self.received, "receive times"
        lag_T = self.received - stamped_T
        shift = int(lag_T.min()) if abs(np.median(lag_T)) > OTHER_CLOCK_NS else 0
        return stamped_T + shift, "header stamps"


@dataclass(frozen=True, eq=False)
class ShownMessages:
    """The messages to show, each at a different time: rising times (T,) in ns, their clock, and the messages."""

    times: np.ndarray
    clock: Clock
    messages: list[tuple[int, int]]


def select_messages(message_times: MessageTimes) -> ShownMessages:
    """Return the messages to show: the first of those with the same time."""
    times_T, clock = message_times.times()
    times_T, first_T = np.unique(times_T, return_index=True)
    pairs = zip(message_times.received[first_T].tolist(), message_times.number[first_T].tolist(), strict=True)
    return ShownMessages(times_T, clock, list(pairs))


def collect_times(messages: list[tuple[int, int]]) -> MessageTimes:
    """Return message times from (received, stamped) of each message."""
    pairs = np.asarray(sorted(messages, key=lambda pair: pair[0]), np.int64).reshape(-1, 2)
    received_T = pairs[:, 0]
    number_T = np.arange(len(received_T)) - np.searchsorted(received_T, received_T, side="left")
    return MessageTimes(received_T, number_T, pairs[:, 1])


def _is_increasing(stamped_T: np.ndarray) -> bool:
    steps = np.diff(stamped_T)
    if len(steps) < 1 or steps.min() < 0 or np.median(steps) <= 0:
        return False
    return estimate_rate(np.unique(stamped_T)) <= MAX_FPS


def _has_same_pace(stamped_T: np.ndarray, received_T: np.ndarray) -> bool:
    """Return whether the stamps take about as long as the receipt; those of a simulation or replay may not."""
    took, received = int(np.ptp(stamped_T)), int(np.ptp(received_T))
    return not received or 1 / MAX_SPEED_RATIO < took / received < MAX_SPEED_RATIO


def header_stamp(raw: bytes, is_ros2: bool) -> int:
    """Return the stamp in ns of a serialized message's leading std_msgs/Header, 0 if the message is too short.

    ROS 2: CDR, four bytes of encapsulation, then sec and nanosec; ROS 1: seq, secs, nsecs.
    """
    if len(raw) < 12:
        return 0
    big_endian = is_ros2 and not raw[1] & 1
    seconds, nanoseconds = struct.unpack_from(">iI" if big_endian else "<iI", raw, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
