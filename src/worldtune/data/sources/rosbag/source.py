"""ROS recordings as episodes: one per bag, each camera topic resampled to an even grid at its own rate."""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from worldtune.core.ranges import MAX_FPS, MIN_FPS
from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.ledger import DEPTH
from worldtune.data.sources.path_checks import displayable_name, link_note, unreadable_reason
from worldtune.data.sources.rosbag.footage import TopicFootage, bag_files
from worldtune.data.sources.rosbag.joints import Joints, name_joints, sample_joints
from worldtune.data.sources.rosbag.messages import BagTopics, read_topics
from worldtune.data.sources.rosbag.resample import (
    continuous_ranges,
    estimate_rate,
    intersect_ranges,
    resample,
    total_seconds,
)
from worldtune.data.sources.rosbag.times import select_messages
from worldtune.data.video.file_cache import file_state
from worldtune.data.windows import find_gaps
from worldtune.errors import DataError


def _repeat_note(frames: int) -> str:
    return f", {frames} frame{'s repeat' if frames > 1 else ' repeats'}" if frames else ""


def _left_out_note(stamps_T: np.ndarray, parts: list[tuple[int, int]], fps: float) -> str:
    """Return a note on the time that is not shown because another camera has no images of it, or ""."""
    excluded = total_seconds(continuous_ranges(stamps_T)) - total_seconds(parts)
    return f", {excluded:.1f} s excluded that not all cameras recorded" if excluded * fps > 1.5 else ""


def _sample_joints(joints: Joints, names: list[str], times_F: np.ndarray, what: str) -> tuple[np.ndarray | None, str]:
    """Return float32 (F, J) at the frames' times, or None, and a note for the ledger."""
    missing = [name for name in names if name not in joints]
    if not names or missing:
        return None, f"no {what}: no positions of the joint {missing[0]}" if missing else ""
    return sample_joints(joints, names, times_F), ""


def is_bag(path: Path) -> bool:
    """Return whether the path is a recording: an .mcap or .bag file, or a rosbag2 folder."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() and bool(bag_files(path))
    return path.suffix in (".mcap", ".bag", ".db3")


def find_bags(path: Path) -> list[Path]:
    """Return `path` if it is a recording, else the recordings directly in it, by name, including incomplete ones."""
    if is_bag(path):
        return [path]
    return (
        sorted(entry for entry in path.iterdir() if is_bag(entry) or _is_incomplete_bag(entry)) if path.is_dir() else []
    )


def _is_incomplete_bag(path: Path) -> bool:
    return path.is_dir() and ((path / "metadata.yaml").is_file() or bool(bag_files(path)))


def _unreadable_reason(bag: Path) -> str:
    name = "its name is not UTF-8" if displayable_name(bag.name) != bag.name else ""
    return next(filter(None, [name, *map(unreadable_reason, bag_files(bag))]), "")


class RosbagSource:
    """Recordings whose cameras are the topics with images; there are no task texts. The session is the folder.

    All requested cameras show the same times: those at which every one of them was recorded. States are the positions
    of sensor_msgs/JointState; those of the topics `actions` are actions instead.
    """

    def __init__(self, path: str, root: Path, actions: Sequence[str] = ()) -> None:
        self.path = path
        self.kind = "ROS recordings"
        self._root = root
        self._bags = find_bags(root)
        self._faults: dict[Path, str] = {}
        self._topics: dict[Path, BagTopics] = {}
        for bag in self._bags:
            try:
                if fault := _unreadable_reason(bag):
                    raise DataError(fault, where=displayable_name(str(bag)), hint="Restore it, or remove it.")
                files = tuple(bag_files(bag))
                self._topics[bag] = read_topics(bag, files, " ".join(map(file_state, files)))
            except DataError as error:
                self._faults[bag] = error.what
        self.cameras = sorted({topic for topics in self._topics.values() for topic in topics.cameras})
        self._depth = {topic for topics in self._topics.values() for topic in topics.depth}
        if not self.cameras:
            raise self._no_camera_error()
        self.available_cameras = self.cameras
        self._actions = tuple(actions)
        self._check_actions()
        self.state_names, self._action_names = self._joints(False), self._joints(True)
        self.predefined_splits: dict[str, frozenset[str]] = {}
        self.tasks: list[str] = []

    def _check_actions(self) -> None:
        known = sorted({topic for topics in self._topics.values() for topic in topics.joints})
        for topic in self._actions:
            if topic not in known:
                hint = f"Topics with joint states: {', '.join(known) or 'none'}."
                raise DataError(f"no topic {topic} has joint states", where=self.path, hint=hint)

    def _joints(self, of_actions: bool) -> list[str]:
        """Return the names of the joints that are states, or of those that are actions."""
        names = (name for topics in self._topics.values() for name in name_joints(self._split(topics, of_actions)))
        return list(dict.fromkeys(names))

    def _split(self, topics: BagTopics, of_actions: bool) -> dict[str, Joints]:
        return {topic: joints for topic, joints in topics.joints.items() if (topic in self._actions) == of_actions}

    def _no_camera_error(self) -> DataError:
        if self._faults:
            bag, fault = next(iter(self._faults.items()))
            return DataError(
                fault, where=displayable_name(str(bag)), hint="Copy it again, or restore it from its origin."
            )
        what = "no topic has images (sensor_msgs Image or CompressedImage)"
        kinds = sorted({kind for topics in self._topics.values() for kind in topics.others.values()})
        listed = f" Its topics have the types {', '.join(kinds[:5])}." if kinds else ""
        return DataError(what, where=self.path, hint=f"Record a camera topic.{listed}")

    @property
    def count(self) -> int:
        return len(self._bags)

    def _name(self, bag: Path) -> str:
        name = bag.name if bag.is_dir() else bag.stem
        alike = [other for other in self._bags if name in (other.name, other.stem)]
        return displayable_name(name if len(alike) == 1 else bag.name)

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        for bag in self._bags:
            for camera in cameras:
                try:
                    yield self._episode(bag, camera, cameras)
                except DataError as error:
                    yield SkippedRecording(self._name(bag), camera, "", "", 0, None, error.what)

    def _episode(self, bag: Path, camera: str, cameras: Sequence[str]) -> Episode:
        if bag in self._faults:
            raise DataError(self._faults[bag], where=str(bag), hint="Copy it again.")
        if camera in self._depth:
            raise DataError(DEPTH, where=f"{bag} {camera}", hint="Choose another with data.cameras.")
        topics = self._topics[bag]
        shown = {
            name: select_messages(topic_times)
            for name, topic_times in topics.cameras.items()
            if name in cameras and name not in self._depth
        }
        shown = {name: topic_times for name, topic_times in shown.items() if len(topic_times.times) > 1}
        if camera not in shown:
            raise DataError("the recording has no images of this camera", where=str(bag), hint="Remove it.")
        own = shown[camera]
        fps = estimate_rate(own.times)
        if not MIN_FPS <= fps <= MAX_FPS:
            what = f"its messages come in bursts, not at a steady rate ({fps:g} per second)"
            raise DataError(what, where=f"{bag} {camera}", hint="Record it at a steady rate.")
        parts = intersect_ranges(continuous_ranges(topic_times.times) for topic_times in shown.values())
        if 2 * total_seconds(parts) < total_seconds(continuous_ranges(own.times)):
            hint = "Choose one with data.cameras."
            raise DataError("its cameras were not recorded at the same time", where=str(bag), hint=hint)
        grids = [resample(own.times, start, end, fps) for start, end in parts]
        chosen_F = np.concatenate(grids)
        footage = TopicFootage(bag, camera, tuple(own.messages[number] for number in chosen_F.tolist()))
        footage.frame_features(len(footage.messages))  # raises if one does not decode
        height, width, _ = next(footage.frames([0]))[1].shape
        repeats = sum(int((np.diff(grid) == 0).sum()) for grid in grids)
        ends = np.cumsum([len(grid) for grid in grids]) - 1
        times_F = own.times[chosen_F]
        states, no_states = _sample_joints(name_joints(self._split(topics, False)), self.state_names, times_F, "states")
        actions, no_actions = _sample_joints(
            name_joints(self._split(topics, True)), self._action_names, times_F, "actions"
        )
        note = f"resampled to {fps:g} Hz by {own.clock}{_repeat_note(repeats)}{_left_out_note(own.times, parts, fps)}"
        return Episode(
            name=self._name(bag),
            camera=camera,
            task="",
            caption="",
            footage=footage,
            frames=len(footage.messages),
            fps=fps,
            height=height,
            width=width,
            states=states,
            actions=actions,
            gaps=tuple((int(at), (b[0] - a[1]) * 1e-9) for at, (a, b) in zip(ends, pairwise(parts), strict=False)),
            session=displayable_name(Path(os.path.abspath(bag)).parent.name),
            note="; ".join(filter(None, [note, no_states, no_actions, self._link_note(bag)])),
        )

    def _link_note(self, bag: Path) -> str:
        """Return a note on a recording stored elsewhere, or ""; a recording named directly may be a link."""
        inside = [*bag_files(bag), bag / "metadata.yaml"] if bag.is_dir() else [bag]
        folder = self._root if self._root.is_dir() else None
        notes = [link_note(file, folder) for file in inside] if folder else []
        return next(filter(None, notes), "")

    def problems(self) -> list[Problem]:
        found = [Problem("warning", displayable_name(bag.name), fault) for bag, fault in self._faults.items()]
        for bag, topics in self._topics.items():
            for topic, kind in topics.others.items():
                if "image" in kind.lower() or "video" in kind.lower():
                    what = f"{topic} is not read: {kind} is not a sensor_msgs Image or CompressedImage"
                    found.append(Problem("warning", bag.name, what, topic))
            for topic, message_times in topics.cameras.items():
                if topic in self._depth:
                    continue
                times_T = select_messages(message_times).times
                if twice := len(message_times.received) - len(times_T):
                    what = f"{topic}: {twice} messages have the same time as another and are not used"
                    found.append(Problem("warning", bag.name, what, topic))
                if gaps := [gap for _, gap in find_gaps((times_T - times_T[:1]) * 1e-9)]:
                    times = "once" if len(gaps) == 1 else f"{len(gaps)} times"
                    what = f"{topic}: timestamps jump {times}, by at most {max(gaps):.2g} s"
                    found.append(Problem("warning", bag.name, what, topic))
        return found
