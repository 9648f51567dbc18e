"""ROS recordings as episodes: each bag one, each camera topic resampled to a fixed grid of its own rate."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Place
from worldtune.episodes.looks import Looks, remembered_looks
from worldtune.episodes.seen import state_of
from worldtune.episodes.sources.bag_grid import rate_of, resample, seconds, shared, stretches
from worldtune.episodes.sources.bag_messages import BagTopics, read_messages, topics_of
from worldtune.episodes.sources.links import as_text, note_of_link, why_unreadable
from worldtune.episodes.windows import jumps
from worldtune.errors import DataError
from worldtune.files import digest_json

FASTEST = 1000  # pictures a second: no camera's


@dataclass(frozen=True)
class Topic:
    """A camera's frames: the message nearest to each time of a grid, known by its own time in ns (`stamps`)."""

    bag: Path
    topic: str
    stamps: tuple[int, ...]

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple((file, self.topic) for file in files_of(self.bag))

    @cached_property
    def arrangement(self) -> str:
        return digest_json(self.stamps)

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        its = [(number, self.stamps[number]) for number in wanted if number < len(self.stamps)]
        stamps = list(dict.fromkeys(stamp for _, stamp in its))
        messages = read_messages(self.bag, self.topic, stamps) if its else iter(())
        for (_, group), (_, frame_HWC) in zip(groupby(its, key=lambda one: one[1]), messages, strict=False):
            yield from ((number, frame_HWC) for number, _ in group)

    def looks(self, frames: int) -> Looks:
        """As a `Footage` does. Raises DataError when the pictures are of several sizes."""

        def every() -> Iterator[np.ndarray]:
            shown = (frame_HWC for _, frame_HWC in self.frames(range(len(self.stamps))))
            return _of_one_size(shown, f"{self.bag} {self.topic}")

        first, *others = files_of(self.bag)
        of = f"{self.topic} {self.arrangement} {' '.join(map(state_of, others))}"
        return remembered_looks(first, of, every).part(0, frames)


def _of_one_size(frames: Iterable[np.ndarray], where: str) -> Iterator[np.ndarray]:
    size: tuple[int, ...] = ()
    for frame_HWC in frames:
        size = size or frame_HWC.shape
        if frame_HWC.shape != size:
            what = f"its pictures are of several sizes ({size[0]}×{size[1]}, {frame_HWC.shape[0]}×{frame_HWC.shape[1]})"
            raise DataError(what, where=where, mend="Record one size.")
        yield frame_HWC


def _repeated(frames: int) -> str:
    return f", {frames} frame{'s repeat' if frames > 1 else ' repeats'}" if frames else ""


def _unshared(stamps_T: np.ndarray, parts: list[tuple[int, int]], fps: float) -> str:
    """What of a camera's recording is not shown because another camera has none of that time."""
    lost = seconds(stretches(stamps_T)) - seconds(parts)
    return f", {lost:.1f} s of it left out, which not all cameras have" if lost * fps > 1.5 else ""


def files_of(bag: Path) -> list[Path]:
    """The recording's data files: itself, or those of a rosbag2 folder."""
    if not bag.is_dir():
        return [bag]
    return sorted(path for path in bag.iterdir() if path.suffix in (".mcap", ".db3", ".zstd"))


def is_bag(path: Path) -> bool:
    """A recording: an .mcap or .bag file, or a rosbag2 folder."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() and bool(files_of(path))
    return path.suffix in (".mcap", ".bag", ".db3")


def bags_in(path: Path) -> list[Path]:
    """`path` if it is a recording; else those right in the folder, by name, and the folders of which a part is left."""
    if is_bag(path):
        return [path]
    return sorted(each for each in path.iterdir() if is_bag(each) or _is_part(each)) if path.is_dir() else []


def _is_part(path: Path) -> bool:
    return path.is_dir() and ((path / "metadata.yaml").is_file() or bool(files_of(path)))


def _why_unreadable(bag: Path) -> str:
    name = "its name is not UTF-8" if as_text(bag.name) != bag.name else ""
    return next(filter(None, [name, *map(why_unreadable, files_of(bag))]), "")


class BagSource:
    """Cameras are the topics with pictures; there are no task texts. A recording's session is the folder it lies in.

    All cameras that are asked for show the same times: those at which every one of them was recorded.
    """

    def __init__(self, path: str, place: Path) -> None:
        self.path = path
        self.kind = "ROS recordings"
        self._place = place
        self._bags = bags_in(place)
        self._faults: dict[Path, str] = {}
        self._topics: dict[Path, BagTopics] = {}
        for bag in self._bags:
            try:
                if fault := _why_unreadable(bag):
                    raise DataError(fault, where=as_text(str(bag)), mend="Restore it, or leave it out.")
                files = tuple(files_of(bag))
                self._topics[bag] = topics_of(bag, files, " ".join(map(state_of, files)))
            except DataError as error:
                self._faults[bag] = error.what
        self.cameras = sorted({topic for topics in self._topics.values() for topic in topics.cameras})
        if not self.cameras:
            fault = next(iter(self._faults.values()), "no topic has pictures (sensor_msgs Image or CompressedImage)")
            raise DataError(fault, where=path, mend="Record a camera topic.")
        self.present = self.cameras
        self.state_names: list[str] = []
        self.tasks: list[str] = []

    @property
    def count(self) -> int:
        return len(self._bags)

    def _name(self, bag: Path) -> str:
        name = bag.name if bag.is_dir() else bag.stem
        alike = [other for other in self._bags if name in (other.name, other.stem)]
        return as_text(name if len(alike) == 1 else bag.name)

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for bag in self._bags:
            for camera in cameras:
                try:
                    yield self._episode(bag, camera, cameras)
                except DataError as error:
                    yield Lost(self._name(bag), camera, "", "", 0, None, error.what)

    def _episode(self, bag: Path, camera: str, cameras: Sequence[str]) -> Episode:
        if bag in self._faults:
            raise DataError(self._faults[bag], where=str(bag), mend="Copy it again.")
        stamps_of = {name: np.unique(its) for name, its in self._topics[bag].cameras.items() if name in cameras}
        stamps_of = {name: its for name, its in stamps_of.items() if len(its) > 1}
        if camera not in stamps_of:
            raise DataError("the recording has no pictures of this camera", where=str(bag), mend="Leave it out.")
        stamps = stamps_of[camera]
        fps = rate_of(stamps)
        if fps > FASTEST:
            what = f"its messages come in bursts, not at a rate ({fps:g} a second)"
            raise DataError(what, where=f"{bag} {camera}", mend="Record it at a rate.")
        parts = shared(stretches(its) for its in stamps_of.values())
        if 2 * seconds(parts) < seconds(stretches(stamps)):
            mend = "Choose one by data.cameras."
            raise DataError("its cameras were not recorded at the same time", where=str(bag), mend=mend)
        grids = [resample(stamps, start, end, fps) for start, end in parts]
        footage = Topic(bag, camera, tuple(stamps[np.concatenate(grids)].tolist()))
        footage.looks(len(footage.stamps))  # all of them decode
        height, width, _ = next(footage.frames([0]))[1].shape
        repeats = sum(int((np.diff(grid) == 0).sum()) for grid in grids)
        ends = np.cumsum([len(grid) for grid in grids]) - 1
        note = f"resampled to {fps:g} Hz{_repeated(repeats)}{_unshared(stamps, parts, fps)}"
        return Episode(
            name=self._name(bag),
            camera=camera,
            task="",
            caption="",
            footage=footage,
            frames=len(footage.stamps),
            fps=fps,
            height=height,
            width=width,
            jumps=tuple((int(at), (b[0] - a[1]) * 1e-9) for at, (a, b) in zip(ends, pairwise(parts), strict=False)),
            session=as_text(Path(os.path.abspath(bag)).parent.name),
            note="; ".join(filter(None, [note, self._link(bag)])),
        )

    def _link(self, bag: Path) -> str:
        """What is to be said of a recording that lies elsewhere; one that is named may be a link."""
        inside = [*files_of(bag), bag / "metadata.yaml"] if bag.is_dir() else [bag]
        folder = self._place if self._place.is_dir() else None
        notes = [note_of_link(file, folder) for file in inside] if folder else []
        return next(filter(None, notes), "")

    def problems(self) -> list[Problem]:
        found = [Problem("warning", as_text(bag.name), fault) for bag, fault in self._faults.items()]
        for bag, topics in self._topics.items():
            for topic, kind in topics.others.items():
                if "image" in kind.lower() or "video" in kind.lower():
                    what = f"{topic} is not read: {kind} is no sensor_msgs Image or CompressedImage"
                    found.append(Problem("warning", bag.name, what, topic))
            for topic, stamps in topics.cameras.items():
                times_T = np.unique(stamps)
                if twice := len(stamps) - len(times_T):
                    what = f"{topic}: {twice} messages have the time of another, and are not shown"
                    found.append(Problem("warning", bag.name, what, topic))
                if gaps := [gap for _, gap in jumps((times_T - times_T[:1]) * 1e-9)]:
                    times = "once" if len(gaps) == 1 else f"{len(gaps)} times"
                    what = f"{topic}: time stamps jump {times}, by {max(gaps):.2g} s at most"
                    found.append(Problem("warning", bag.name, what, topic))
        return found
