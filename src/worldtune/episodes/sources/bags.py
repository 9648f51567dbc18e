"""ROS recordings as episodes: each bag one, each camera topic resampled to a fixed grid of its own rate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Place
from worldtune.episodes.looks import Looks, look_at
from worldtune.episodes.seen import remembered, state_of
from worldtune.episodes.sources.bag_messages import BagTopics, read_messages, topics_of
from worldtune.errors import DataError

LOOKS = "looks 1 of "
GAP = 3  # grid steps without a message: time jumps


@dataclass(frozen=True)
class Topic:
    """A camera's frames: the message nearest to each time of a grid, known by its own time in ns (`stamps`)."""

    bag: Path
    topic: str
    stamps: tuple[int, ...]

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple((file, self.topic) for file in files_of(self.bag))

    @property
    def arrangement(self) -> str:
        return f"{self.stamps[0]} {self.stamps[-1]} {len(self.stamps)}"

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        its = [(number, self.stamps[number]) for number in wanted if number < len(self.stamps)]
        stamps = list(dict.fromkeys(stamp for _, stamp in its))
        messages = read_messages(self.bag, self.topic, stamps) if its else iter(())
        for (stamp, group), (found, frame_HWC) in zip(groupby(its, key=lambda one: one[1]), messages, strict=False):
            if stamp != found:
                return
            yield from ((number, frame_HWC) for number, _ in group)

    def looks(self, frames: int) -> Looks:
        def look() -> dict[str, bytes]:
            return {what: look_at(frame for _, frame in self.frames(range(len(self.stamps)))).to_bytes()}

        what = LOOKS + f"{self.topic} {self.arrangement}"
        return Looks.from_bytes(remembered(files_of(self.bag)[0], what, look)).part(0, frames)


def files_of(bag: Path) -> list[Path]:
    """The recording's data files: itself, or those of a rosbag2 folder."""
    if bag.is_file():
        return [bag]
    return sorted(path for path in bag.iterdir() if path.suffix in (".mcap", ".db3", ".zstd"))


def is_bag(path: Path) -> bool:
    """A recording: an .mcap or .bag file, or a rosbag2 folder."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() and bool(files_of(path))
    return path.suffix in (".mcap", ".bag", ".db3")


def bags_in(path: Path) -> list[Path]:
    """`path` if it is a recording; else those right in the folder, by name."""
    if is_bag(path):
        return [path]
    return sorted(each for each in path.iterdir() if is_bag(each)) if path.is_dir() else []


class BagSource:
    """Cameras are the topics with pictures; there are no task texts. A recording's session is the folder it lies in."""

    def __init__(self, path: str, place: Path) -> None:
        self.path = path
        self.kind = "ROS recordings"
        self._bags = bags_in(place)
        self._faults: dict[Path, str] = {}
        self._topics: dict[Path, BagTopics] = {}
        for bag in self._bags:
            try:
                self._topics[bag] = topics_of(bag, " ".join(map(state_of, files_of(bag))))
            except DataError as error:
                self._faults[bag] = error.what
        self.cameras = sorted({topic for topics in self._topics.values() for topic in topics.cameras})
        if not self.cameras:
            fault = next(iter(self._faults.values()), "no topic has pictures (sensor_msgs Image or CompressedImage)")
            raise DataError(fault, where=path, mend="Record a camera topic.")
        self.present = self.cameras
        self.tasks: list[str] = []

    @property
    def count(self) -> int:
        return len(self._bags)

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for bag in self._bags:
            for camera in cameras:
                try:
                    yield self._episode(bag, camera, cameras)
                except DataError as error:
                    yield Lost(bag.stem, camera, "", "", 0, None, error.what)

    def _episode(self, bag: Path, camera: str, cameras: Sequence[str]) -> Episode:
        if bag in self._faults:
            raise DataError(self._faults[bag], where=str(bag), mend="Copy it again.")
        stamps_of = {name: its for name, its in self._topics[bag].cameras.items() if name in cameras and len(its) > 1}
        if camera not in stamps_of:
            raise DataError("the recording has no pictures of this camera", where=str(bag), mend="Leave it out.")
        stamps = stamps_of[camera]
        start, end = max(its[0] for its in stamps_of.values()), min(its[-1] for its in stamps_of.values())
        if 2 * (end - start) < stamps[-1] - stamps[0]:
            mend = "Choose one by data.cameras."
            raise DataError("its cameras were not recorded at the same time", where=str(bag), mend=mend)
        fps = rate_of(stamps)
        grid = resample(stamps, int(start), int(end), fps)
        footage = Topic(bag, camera, tuple(stamps[grid].tolist()))
        sizes = {frame.shape[:2] for _, frame in footage.frames([0, len(grid) - 1])}
        if len(sizes) > 1:
            raise DataError("its pictures are of several sizes", where=str(bag), mend="Record one size.")
        ((height, width),) = sizes
        repeats = int((np.diff(grid) == 0).sum())
        return Episode(
            name=bag.stem,
            camera=camera,
            task="",
            caption="",
            footage=footage,
            frames=len(grid),
            fps=fps,
            height=height,
            width=width,
            jumps=gaps(grid, fps),
            session=bag.parent.name,
            note=f"resampled to {fps:g} Hz" + (f", {repeats} frames repeat" if repeats else ""),
        )

    def problems(self) -> list[Problem]:
        found = [Problem("warning", bag.name, fault) for bag, fault in self._faults.items()]
        for bag, topics in self._topics.items():
            for topic, kind in topics.others.items():
                if "image" in kind.lower() or "video" in kind.lower():
                    what = f"{topic} is not read: {kind} is no sensor_msgs Image or CompressedImage"
                    found.append(Problem("warning", bag.name, what, topic))
            for topic, stamps in topics.cameras.items():
                if len(stamps) > 1 and (gap := float(np.diff(stamps).max()) * 1e-9) > GAP / rate_of(stamps):
                    found.append(Problem("warning", bag.name, f"{topic}: no picture for {gap:.2g} s", topic))
        return found


def rate_of(stamps_T: np.ndarray) -> float:
    """Pictures a second by the median step, to the nearest whole number if within 3 %, else to a tenth."""
    rate = 1e9 / float(np.median(np.diff(stamps_T)))
    return float(round(rate)) if abs(rate / max(round(rate), 1) - 1) < 0.03 else round(rate, 1)


def resample(stamps_T: np.ndarray, start: int, end: int, fps: float) -> np.ndarray:
    """For each time of a grid from `start` to `end` (ns), the number of the message nearest to it."""
    seconds_T = (stamps_T - start) * 1e-9
    grid = np.arange(int(np.floor((end - start) * 1e-9 * fps + 1e-6)) + 1) / fps
    return np.searchsorted((seconds_T[1:] + seconds_T[:-1]) / 2, grid, side="left")


def gaps(grid: np.ndarray, fps: float) -> tuple[tuple[int, float], ...]:
    """(frame, seconds) wherever one message stands for more than `GAP` times of the grid."""
    first = np.flatnonzero(np.diff(grid, prepend=-1))
    lengths = np.diff(np.append(first, len(grid)))
    return tuple((int(at), float(n) / fps) for at, n in zip(first, lengths, strict=True) if n > GAP)
